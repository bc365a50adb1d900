"""What the registry offers, asked without holding up anything else."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from opinionlens_server.threads import in_daemon_thread
from pipelines.errors import OpinionLensError, RegistryUnavailableError
from pipelines.registry.versions import RegisteredModel
from pipelines.settings import MLflow

FRESH_SECONDS: Final = 15.0
"""How long an answer is shown again without asking anew."""

GRACE_SECONDS: Final = 10.0
"""For what comes on top of the registry's own time: several questions, and importing MLflow."""


class RegistryListing:
    """The models of the registry, as of a moment ago.

    Callers that come while the registry is being asked wait for the same answer, so one that
    hangs costs one thread, however many pages are opened.

    Parameters
    ----------
    settings : MLflow
        Names the registry.
    """

    def __init__(self, settings: MLflow) -> None:
        self._settings = settings
        self._asking: asyncio.Future[list[RegisteredModel]] | None = None
        self._models: list[RegisteredModel] | None = None
        self._asked = 0.0

    @property
    def known(self) -> list[RegisteredModel] | None:
        """What the registry said a moment ago; None if it was not asked."""
        return self._models if time.monotonic() - self._asked < FRESH_SECONDS else None

    async def models(self) -> list[RegisteredModel]:
        """Ask the registry.

        Raises
        ------
        RegistryUnavailableError, RegistryAuthError
            If it does not answer in time, or refuses.
        """
        deadline = self._settings.timeout + GRACE_SECONDS
        if self._asking is None or self._asking.done():
            self._asking = in_daemon_thread(self._ask, "registry")
            self._asking.add_done_callback(_retrieve)
        try:
            self._models = await asyncio.wait_for(asyncio.shield(self._asking), deadline)
        except TimeoutError:
            raise RegistryUnavailableError(
                f"The registry has not answered for {deadline:g} seconds. Models on this machine "
                "can be used all the same"
            ) from None
        except OpinionLensError:
            self._models = None
            raise
        self._asked = time.monotonic()
        return self._models

    def _ask(self) -> list[RegisteredModel]:
        from pipelines.registry.client import Registry

        return Registry(self._settings).models()


def _retrieve(asked: asyncio.Future[list[RegisteredModel]]) -> None:
    """Take the error of an answer that nobody waits for any more, or asyncio would report it."""
    if not asked.cancelled():
        asked.exception()

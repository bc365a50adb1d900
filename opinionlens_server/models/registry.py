"""The models of the registry, listed without blocking anything else."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from opinionlens_server.models.threads import in_daemon_thread
from pipelines.config.settings import MLflow
from pipelines.errors import OpinionLensError, RegistryUnavailableError
from pipelines.registry.versions import RegisteredModel

FRESH_SECONDS: Final = 15.0
"""How long a listing is reused."""

GRACE_SECONDS: Final = 10.0
"""Added to the registry's timeout, as a listing takes several requests."""


class RegistryListing:
    """The models of the registry, as of a moment ago.

    Concurrent callers wait for the same listing, so a registry that hangs costs one thread.
    """

    def __init__(self, settings: MLflow) -> None:
        self._settings = settings
        self._listing: asyncio.Future[list[RegisteredModel]] | None = None
        self._models: list[RegisteredModel] | None = None
        self._listed = 0.0

    @property
    def known(self) -> list[RegisteredModel] | None:
        """The last listing while it is fresh, else None."""
        return self._models if time.monotonic() - self._listed < FRESH_SECONDS else None

    async def models(self) -> list[RegisteredModel]:
        """List the models of the registry.

        Raises
        ------
        RegistryUnavailableError, RegistryAuthError
            If it does not answer in time, or refuses.
        """
        from pipelines.registry.client import Registry

        registry = Registry(self._settings)
        # Takes seconds, at most once, in which the registry has not been asked yet.
        await in_daemon_thread(registry.server.load_mlflow, "mlflow")
        deadline = self._settings.timeout + GRACE_SECONDS
        if self._listing is None or self._listing.done():
            self._listing = in_daemon_thread(registry.models, "registry")
            self._listing.add_done_callback(_retrieve)
        try:
            self._models = await asyncio.wait_for(asyncio.shield(self._listing), deadline)
        except TimeoutError:
            raise RegistryUnavailableError(
                f"The registry has not answered for {deadline:g} seconds. Models on this machine "
                "can be used all the same"
            ) from None
        except OpinionLensError:
            self._models = None
            raise
        self._listed = time.monotonic()
        return self._models


def _retrieve(listing: asyncio.Future[list[RegisteredModel]]) -> None:
    """Read the error of a listing that nobody awaits any more, or asyncio would log it."""
    if not listing.cancelled():
        listing.exception()

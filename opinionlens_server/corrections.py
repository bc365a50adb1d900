"""Corrections of users: checking them, and storing them in a thread of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from litestar.exceptions import HTTPException

from opinionlens_server.models.predictor import Predictor
from pipelines.config.settings import Settings
from pipelines.errors import OpinionLensError, UnreachableStorageError
from pipelines.labelling.feedback import Correction, FeedbackStore

SECONDS: Final = 60 * 60.0
"""Between two deletions of what is over its time."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Corrections:
    """Stores what a text should have been.

    Raises
    ------
    MissingExtraError
        If the driver for PostgreSQL is not installed.
    """

    def __init__(self, settings: Settings, predictor: Predictor) -> None:
        self.enabled = settings.serving.feedback
        self._predictor = predictor
        self._store = FeedbackStore(settings)
        # One at a time: writers wait for each other anyway, and must not fill the threads.
        self._storing = asyncio.Lock()

    async def add(self, text: str, label: str, key: str = "") -> Correction:
        """Predict `text` and store it with `label`, its class by its name in any letter case.

        Raises
        ------
        HTTPException
            With status 409, if the model of the moment has no such class; with status 503, if the
            database does not answer. Other errors are those of predictions and of the storage.
        """
        names = {name.casefold(): name for name in self._predictor.classes.names}
        found = await self._predictor.predict(text)
        if (name := names.get(label.casefold())) is None:
            raise HTTPException(
                f"{found.model} has no class {label[:80]!r}. It has: {', '.join(names.values())}.",
                status_code=409,
            )
        return await self._run(
            lambda: self._store.add(text, name, found.prediction, found.model, key)
        )

    async def delete(self, correction: str) -> bool:
        """Delete the correction with this ID; returns whether it was there."""
        return await self._run(lambda: self._store.delete(correction))

    async def count(self) -> int:
        """How many are kept; errors as for `add`."""
        return await self._run(self._store.count)

    async def all(self) -> list[Correction]:
        """All of them, the newest first; errors as for `add`."""
        return await self._run(self._store.corrections)

    async def watch(self) -> None:
        """Delete what is over its time, now and every hour, even if feedback is off by now."""
        problem = ""
        while True:
            try:
                if self._store.may_hold_texts:
                    await asyncio.to_thread(self._store.delete_expired)
                problem = ""
            except OpinionLensError as error:
                if str(error) != problem:
                    logger.warning("Old corrections cannot be deleted: %s", error)
                problem = str(error)
            await asyncio.sleep(SECONDS)

    async def _run(self, work: Callable[[], T]) -> T:
        async with self._storing:
            try:
                return await asyncio.to_thread(work)
            except UnreachableStorageError as error:
                # It names the database's address, which is nothing for strangers.
                logger.warning("%s", error)
                raise HTTPException(
                    "The database of corrections does not answer. Try again later.",
                    status_code=503,
                ) from None

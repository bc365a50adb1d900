"""The model that answers, and how a worker follows the cache when another one is activated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from pipelines.errors import ModelError, NoActiveModelError, OpinionLensError
from pipelines.inference.base import BASE, activate_model, answering_model, base_model
from pipelines.inference.scorer import Scorer
from pipelines.registry.cache import ModelCache
from pipelines.registry.entries import CachedModel

POLL_SECONDS: Final = 0.5
"""How often a worker looks whether another model was activated."""

WARM_UP_TEXT: Final = "The plot is thin, but the actors are wonderful."

logger = logging.getLogger(__name__)

LoadScorer = Callable[[Path], Scorer]


class LoadedModel(msgspec.Struct, frozen=True):
    """A model of the cache, ready to answer."""

    info: CachedModel
    scorer: Scorer
    activated: float | None = None
    """When it was made the active one, in seconds since 1970; None: it is there by default."""

    @property
    def quick(self) -> bool:
        """Whether a short text takes microseconds, so that it needs no thread."""
        return self.scorer.kind == "linear"


class ActiveModel:
    """Holds the loaded model and replaces it when the cache's active model changes.

    Replacing is one assignment: a request that took :attr:`loaded` before keeps its model to its
    end. A model that cannot be loaded never replaces one that works.

    Parameters
    ----------
    cache : ModelCache
        The cache that the command line and all workers share.
    load : callable
        Makes a scorer from the folder of a cache entry.
    """

    def __init__(self, cache: ModelCache, load: LoadScorer) -> None:
        self.cache = cache
        self.load = load
        self.loaded: LoadedModel | None = None
        self.problem: str | None = None
        """Why the model that should be active is not the one that answers."""
        self._seen: object = "nothing yet"
        self._refreshing = asyncio.Lock()

    def require(self) -> LoadedModel:
        """The loaded model.

        Raises
        ------
        NoActiveModelError
            When no model is loaded; the message says how to get one.
        """
        if self.loaded is None:
            raise NoActiveModelError(self.problem or _what_to_do(self.cache))
        return self.loaded

    async def refresh(self) -> None:
        """Load the cache's active model if it is another than last time."""
        async with self._refreshing:
            # The stamp is read before the model: a change in between shows at the next look.
            stamp = await asyncio.to_thread(self.cache.active_stamp)
            if stamp == self._seen:
                return
            self._seen = stamp
            try:
                self.loaded = await asyncio.to_thread(self._load_active, stamp)
                self.problem = None
                logger.info("Model %s answers now.", self.loaded.info.id)
            except OpinionLensError as error:
                self._report(str(error))
            except Exception as error:
                # Whatever a broken model makes its loader raise, the one that works must stay.
                logger.exception("Loading the active model failed.")
                self._report(f"The active model cannot be loaded: {type(error).__name__}: {error}")

    async def activate(self, model_id: str) -> CachedModel:
        """Let the model called `model_id`, or `base`, answer in all workers, if it can be loaded.

        Raises
        ------
        ModelNotFoundError
            If the cache has no such model.
        ModelError
            If it cannot be used; the active model stays.
        """
        activated = await asyncio.to_thread(self._check_and_activate, model_id)
        await self.refresh()
        return activated

    async def watch(self, interval: float = POLL_SECONDS) -> None:
        """Call :meth:`refresh` every `interval` seconds until cancelled."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.refresh()
            except Exception:
                # An unreadable cache folder today must not stop the watch for ever.
                logger.exception("Looking at the model cache failed.")

    def _check_and_activate(self, model_id: str) -> CachedModel:
        model = base_model() if model_id == BASE else self.cache.get(model_id)
        try:
            self._load(model)
        except OpinionLensError:
            raise
        except Exception as error:
            raise ModelError(
                f"{model_id} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        return activate_model(self.cache, model_id)

    def _load_active(self, stamp: tuple[int, int, int] | None) -> LoadedModel:
        info = answering_model(self.cache)
        if info is None:
            raise NoActiveModelError(_what_to_do(self.cache))
        if info.path.parent == self.cache.folder:
            # A disk may have changed a file since it was activated; weights do not show that.
            self.cache.verify(info.id)
        return self._load(info, activated=stamp[0] / 1e9 if stamp else None)

    def _load(self, info: CachedModel, activated: float | None = None) -> LoadedModel:
        scorer = self.load(info.path)
        # What is lazy in it happens now and not to the first user.
        scorer.predict([WARM_UP_TEXT])
        return LoadedModel(info, scorer, activated)

    def _report(self, problem: str) -> None:
        self.problem = problem
        kept = f" {self.loaded.info.id} goes on answering." if self.loaded else ""
        logger.warning("%s%s", problem, kept)


def _what_to_do(cache: ModelCache) -> str:
    """Why no model is active, and the way to one."""
    if not cache.list():
        return (
            "There is no model yet. Fetch one with `olens fetch NAME --activate`, or let "
            "`olens quickstart` train one from the data at hand."
        )
    reason = (cache.active_problem() or "").rstrip(".")
    return f"{reason}. Or fetch another one with `olens fetch NAME --activate`."

"""The active model: loading it, and reloading when another one is activated."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from opinionlens_server.backoff import Backoff
from opinionlens_server.security.public_messages import public_message
from pipelines.base_model.opening import BASE
from pipelines.cache.active import UNREADABLE
from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.errors import ModelError, NoActiveModelError, OpinionLensError
from pipelines.inference.evidence import Judgement
from pipelines.inference.loading import load_profile
from pipelines.inference.scorer import Scorer
from pipelines.training.text_profile import TextProfile
from pipelines.workflows.answering import activate_model, answering_model, local_model

POLL_SECONDS: Final = 0.5
"""How often a worker checks whether another model was activated."""

COMPARED: Final = 1_000
"""So many of the newest texts are compared with the model's profile."""

WARM_UP_TEXT: Final = "The plot is thin, but the actors are wonderful."

logger = logging.getLogger(__name__)

LoadScorer = Callable[[Path], Scorer]
Stamp = tuple[int, int, int] | None


class LoadedModel(msgspec.Struct, frozen=True):
    """A model of the cache with its scorer."""

    info: CachedModel
    scorer: Scorer
    activated: float | None = None
    """When it was activated, in seconds since 1970; None for the base model by default."""
    profile: TextProfile | None = None
    """What its texts should look like; None if it does not say so."""
    judged: deque[Judgement] = msgspec.field(default_factory=lambda: deque(maxlen=0))
    """Its last answers, for `opinionlens_server.observability.drift`. Adding needs no lock."""

    @property
    def quick(self) -> bool:
        """Whether a short text takes microseconds, so that it needs no thread."""
        return self.scorer.kind == "linear"


class ActiveModel:
    """Holds the loaded model and replaces it when the cache's active model changes.

    Replacing is one assignment, so a request that has read :attr:`loaded` keeps its model to its
    end. A model that cannot be loaded never replaces one that works; loading it is tried again,
    with growing pauses.

    Parameters
    ----------
    cache : ModelCache
    load : callable
        Makes a scorer from the folder of a cache entry.
    memory : Path, optional
        File that the workers of a service share. It holds the ID of the model that they answer
        with, so that a worker that is replaced knows whether the cache has gone meanwhile.
    """

    def __init__(self, cache: ModelCache, load: LoadScorer, memory: Path | None = None) -> None:
        self.cache = cache
        self.load = load
        self.loaded: LoadedModel | None = None
        self.problem: str | None = None
        """Why the loaded model is not the active one."""
        self.behind = False
        """Whether another model than the loaded one was activated and cannot be loaded."""
        self._memory = memory
        self._retrying = Backoff()
        self._seen: object = "nothing yet"
        self._refreshing = asyncio.Lock()

    @property
    def loaded_id(self) -> str | None:
        """The ID of the loaded model."""
        return self.loaded.info.id if self.loaded else None

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
        """Load the cache's active model if it is another than last time, or failed then."""
        async with self._refreshing:
            # The stamp is read before the model: a change in between is seen next time.
            stamp = await asyncio.to_thread(self.cache.active_stamp)
            if stamp != self._seen:
                self._retrying.reset()
            elif not self._retrying.is_due:
                return
            self._seen = stamp
            try:
                self.loaded = await asyncio.to_thread(self._load_active, stamp)
            except OpinionLensError as error:
                self._fail(stamp, public_message(error), error)
            except Exception as error:
                # A broken model may raise anything, and the loaded one must stay.
                problem = f"The active model cannot be loaded: {type(error).__name__}: {error}"
                self._fail(stamp, public_message(problem), problem)
            else:
                self._retrying.reset()
                self.problem, self.behind = None, False
                logger.info("Model %s is loaded.", self.loaded.info.id)

    async def activate(self, model_id: str) -> CachedModel:
        """Activate the model `model_id`, or `base`, in all workers, if it can be loaded.

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
                # An unreadable cache folder now must not stop the watch for good.
                logger.exception("Checking the model cache failed.")

    def _check_and_activate(self, model_id: str) -> CachedModel:
        model = local_model(self.cache, model_id)
        try:
            self._load(model)
        except OpinionLensError:
            raise
        except Exception as error:
            raise ModelError(
                f"{model_id} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        return activate_model(self.cache, model_id)

    def _load_active(self, stamp: Stamp) -> LoadedModel:
        if stamp is None and self._last_id() not in (None, BASE):
            raise ModelError(
                f"{self.cache.folder} has no active.json any more: the folder of the models was "
                "deleted, or is not mounted. Bring it back, or activate a model: olens models "
                "activate ID"
            )
        info = answering_model(self.cache)
        if info is None:
            raise NoActiveModelError(_what_to_do(self.cache))
        if info.path.parent == self.cache.folder:
            # The disk may have damaged a file since it was activated.
            self.cache.verify(info.id)
        loaded = self._load(info, stamp[0] / 1e9 if stamp and info.id != BASE else None)
        if self._memory is not None:
            with suppress(OSError):
                self._memory.write_text(info.id)
        return loaded

    def _last_id(self) -> str | None:
        """The ID of the model that this service has answered with; None if there was none."""
        if self.loaded is not None:
            return self.loaded.info.id
        with suppress(OSError, UnicodeDecodeError):
            return self._memory.read_text() or None if self._memory else None
        return None

    def _load(self, info: CachedModel, activated: float | None = None) -> LoadedModel:
        scorer = self.load(info.path)
        # Lazy work is done now and not during the first request.
        scorer.predict([WARM_UP_TEXT])
        profile = load_profile(info.path)
        judged = deque[Judgement](maxlen=COMPARED if profile else 0)
        return LoadedModel(info, scorer, activated, profile, judged)

    def _fail(self, stamp: Stamp, problem: str, logged: Exception | str) -> None:
        # Without a readable folder, nobody knows of another model than the loaded one.
        self.behind = self.loaded is not None and stamp is not None and stamp[0] != UNREADABLE
        self._retrying.fail()
        if problem != self.problem:
            self.problem = problem
            kept = f" {self.loaded.info.id} stays loaded." if self.loaded else ""
            logger.warning("%s%s It is tried again.", logged, kept)


def _what_to_do(cache: ModelCache) -> str:
    """Why no model is active, and how to get one."""
    if not cache.list():
        return (
            "There is no model yet. Fetch one with `olens fetch NAME --activate`, or let "
            "`olens quickstart` train one from the data at hand."
        )
    reason = (cache.active_problem() or "").rstrip(".")
    return f"{reason}. Or fetch another one with `olens fetch NAME --activate`."

"""Follow mode: the version that an alias of the registry points to answers, without anyone asking.

One worker of the service looks; a lock on a file says which. When that worker ends, the kernel
frees the lock and another one goes on.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from typing import Final, NamedTuple

import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from opinionlens_server.active_model import ActiveModel
from opinionlens_server.metrics import Metrics
from opinionlens_server.state import SharedState
from opinionlens_server.threads import in_daemon_thread
from pipelines.errors import ModelError, ModelNotFoundError, OpinionLensError
from pipelines.registry.entries import model_id
from pipelines.registry.versions import RegisteredVersion
from pipelines.settings import Settings

SUCCESSION_SECONDS: Final = 5.0
"""How often the other workers look whether the one that follows has gone."""

logger = logging.getLogger(__name__)


class Target(NamedTuple):
    """What is followed."""

    name: str
    alias: str


class FollowStatus(msgspec.Struct, frozen=True):
    """How following goes."""

    follows: str
    """``NAME@ALIAS``."""
    model: str | None
    """The model that the alias pointed to when it was last looked at."""
    problem: str | None
    """Why that model is not the one that answers."""
    checked: datetime | None
    """When it was last looked at."""


def parse_follow(follow: str) -> Target | None:
    """The target of the setting ``serving.follow``, ``NAME@ALIAS``; None if nothing is followed."""
    name, _, alias = follow.rpartition("@")
    return Target(name, alias) if follow else None


class FollowCollector(Collector):
    """What Prometheus is told about following."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        status = self._follower.status()
        yield GaugeMetricFamily(
            "opinionlens_following_ok",
            "Whether the model that the followed alias points to is the active one",
            value=float(status.checked is not None and status.problem is None),
        )
        if status.checked is not None:
            yield GaugeMetricFamily(
                "opinionlens_following_checked_timestamp_seconds",
                "When the registry was last looked at",
                value=status.checked.timestamp(),
            )


class Follower:
    """Fetches and activates the version that the alias points to.

    Parameters
    ----------
    target : Target
        What is followed.
    settings : Settings
        Names the registry and the cache.
    active_model : ActiveModel
        Checks a version before it answers.
    metrics : Metrics
        Counts the fetches.
    state : SharedState
        Where all workers see how it goes.
    """

    def __init__(
        self,
        target: Target,
        settings: Settings,
        active_model: ActiveModel,
        metrics: Metrics,
        state: SharedState,
    ) -> None:
        self._target = target
        self._settings = settings
        self._active_model = active_model
        self._metrics = metrics
        self._state = state
        self._refused: dict[tuple[str, str | None], str] = {}
        self._problem: str | None = None
        self._lock: FileIO | None = None
        metrics.tell(FollowCollector(self))

    async def watch(self) -> None:
        """Look at the registry again and again, in one worker, until cancelled."""
        interval = self._settings.serving.follow_interval
        try:
            while not self._take_lock():
                await asyncio.sleep(min(interval, SUCCESSION_SECONDS))
            while True:
                await self.look()
                await asyncio.sleep(interval)
        finally:
            if self._lock is not None:
                self._lock.close()

    async def look(self) -> None:
        """Look once: fetch, check and switch if the alias points to another model."""
        wanted: str | None = None
        try:
            version = await in_daemon_thread(self._resolve, "follow")
            wanted = model_id(version.name, version.version)
            await self._take_up(wanted, version)
            problem = None
        except OpinionLensError as error:
            problem = str(error)
        except Exception as error:
            logger.exception("Following %s failed.", self._settings.serving.follow)
            problem = f"{type(error).__name__}: {error}"
        self._tell(problem)
        await asyncio.to_thread(self._write, wanted, problem)

    def status(self) -> FollowStatus:
        """How it goes, as the worker that looks wrote down."""
        with self._state.database() as database:
            row = database.execute("SELECT version, problem, checked FROM following").fetchone()
        model, problem, checked = row or (None, None, None)
        when = None if checked is None else datetime.fromtimestamp(checked, UTC)
        return FollowStatus(self._settings.serving.follow, model, problem, when)

    def _resolve(self) -> RegisteredVersion:
        from pipelines.registry.client import Registry

        return Registry(self._settings.mlflow).resolve(self._target.name, alias=self._target.alias)

    async def _take_up(self, wanted: str, version: RegisteredVersion) -> None:
        """Let `version` answer.

        A version whose files are no good is not downloaded again and again.
        """
        identity = (wanted, version.manifest_sha256)
        if (refusal := self._refused.get(identity)) is not None:
            raise ModelError(refusal)
        active = await asyncio.to_thread(self._active_model.cache.active)
        if active is not None and active.id == wanted:
            return
        try:
            await self._fetch(version)
            await self._active_model.activate(wanted)
        except ModelNotFoundError:
            raise
        except ModelError as error:
            self._refused = {identity: str(error)}
            raise
        logger.info("%s points to %s now.", self._settings.serving.follow, wanted)

    async def _fetch(self, version: RegisteredVersion) -> None:
        from pipelines.inference.fetching import fetch_model

        succeeded = False
        try:
            await in_daemon_thread(
                lambda: fetch_model(self._settings, version.name, version=version.version), "fetch"
            )
            succeeded = True
        finally:
            self._metrics.observe_fetch(succeeded)

    def _tell(self, problem: str | None) -> None:
        """Log a problem once, and that it is over."""
        if problem == self._problem:
            return
        follows = self._settings.serving.follow
        if problem is not None:
            loaded = self._active_model.loaded
            kept = f" {loaded.info.id} goes on answering." if loaded else ""
            logger.warning("Following %s: %s.%s", follows, problem.rstrip("."), kept)
        else:
            logger.info("Following %s works again.", follows)
        self._problem = problem

    def _write(self, wanted: str | None, problem: str | None) -> None:
        now = datetime.now(UTC).timestamp()
        with suppress(OpinionLensError), self._state.database() as database:
            database.execute(
                "INSERT OR REPLACE INTO following VALUES (1, ?, ?, ?)", (wanted, problem, now)
            )

    def _take_lock(self) -> bool:
        file = FileIO(self._state.folder / "follow.lock", "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        # Kept open: closing it would free the lock.
        self._lock = file
        return True

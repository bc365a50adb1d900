"""Follow mode: the version that an alias of the registry points to becomes the active model.

One worker of the service checks the registry, the one with the lock on a file. When it ends, the
kernel frees the lock, and another worker takes over.
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
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from opinionlens_server.backoff import Backoff
from opinionlens_server.models.active import ActiveModel
from opinionlens_server.models.threads import in_daemon_thread
from opinionlens_server.observability.metrics import Metrics, gauge
from opinionlens_server.security.public_messages import public_message
from opinionlens_server.shared_state import SharedState
from pipelines.cache.entries import model_id
from pipelines.config.settings import Settings
from pipelines.errors import ModelError, ModelNotFoundError, OpinionLensError, StorageError
from pipelines.registry.versions import RegisteredVersion

SUCCESSION_SECONDS: Final = 5.0
"""How often the other workers try to get the lock."""

FIRST_PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 3600.0
"""Seconds until a version that was refused is downloaded again, at first and at most."""

logger = logging.getLogger(__name__)


class Target(NamedTuple):
    """The alias to follow."""

    name: str
    alias: str


class FollowStatus(msgspec.Struct, frozen=True):
    """The state of following."""

    follows: str
    """``NAME@ALIAS``."""
    model: str | None
    """The model that the alias pointed to at the last check."""
    problem: str | None
    """Why that model is not the active one."""
    checked: datetime | None
    """Time of the last check."""


def parse_follow(follow: str) -> Target | None:
    """The target of the setting ``serving.follow``, ``NAME@ALIAS``; None if nothing is followed."""
    name, _, alias = follow.rpartition("@")
    return Target(name, alias) if follow else None


class FollowCollector(Collector):
    """Metrics of following."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus."""
        status = self._follower.status()
        yield gauge(
            "opinionlens_following_ok",
            "Whether the model that the followed alias points to is the active one",
            status.checked is not None and status.problem is None,
        )
        if status.checked is not None:
            yield gauge(
                "opinionlens_following_checked_timestamp_seconds",
                "Time of the last check of the registry",
                status.checked.timestamp(),
            )


class Follower:
    """Fetches and activates the version that the alias points to."""

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
        self._retrying = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._problem: str | None = None
        self._lock: FileIO | None = None
        metrics.add(FollowCollector(self))

    async def watch(self) -> None:
        """Check the registry periodically, in one worker, until cancelled."""
        interval = self._settings.serving.follow_interval
        try:
            while not self._take_lock():
                await asyncio.sleep(min(interval, SUCCESSION_SECONDS))
            while True:
                await self.check()
                await asyncio.sleep(interval)
        finally:
            if self._lock is not None:
                self._lock.close()

    async def check(self) -> None:
        """Fetch and activate the model that the alias points to, if it is not active yet."""
        wanted: str | None = None
        try:
            version = await in_daemon_thread(self._resolve, "follow")
            wanted = model_id(version.name, version.version)
            await self._activate(wanted, version)
            problem = None
        except OpinionLensError as error:
            problem = public_message(error)
        except Exception as error:
            logger.exception("Following %s failed.", self._settings.serving.follow)
            problem = public_message(f"{type(error).__name__}: {error}")
        self._tell(problem)
        await asyncio.to_thread(self._write, wanted, problem)

    def status(self) -> FollowStatus:
        """The state that the following worker has stored."""
        query = "SELECT version, problem, checked FROM following"
        try:
            with self._state.reading() as database:
                row = database.execute(query).fetchone()
        except StorageError as error:  # whether the service is ready does not depend on it
            row = None, public_message(error), None
        model, problem, checked = row or (None, None, None)
        when = None if checked is None else datetime.fromtimestamp(checked, UTC)
        return FollowStatus(self._settings.serving.follow, model, problem, when)

    def _resolve(self) -> RegisteredVersion:
        from pipelines.registry.client import Registry

        return Registry(self._settings.mlflow).resolve(self._target.name, alias=self._target.alias)

    async def _activate(self, wanted: str, version: RegisteredVersion) -> None:
        """Fetch and activate `version`; one that was refused is tried again ever less often."""
        identity = (wanted, version.manifest_sha256)
        refusal = self._refused.get(identity)
        if refusal is None:
            self._retrying.reset()
        elif not self._retrying.is_due:
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
            self._retrying.fail()
            raise
        logger.info("%s points to %s now.", self._settings.serving.follow, wanted)

    async def _fetch(self, version: RegisteredVersion) -> None:
        from pipelines.workflows.fetch import fetch_model

        succeeded = False
        try:
            await in_daemon_thread(
                lambda: fetch_model(self._settings, version.name, version=version.version), "fetch"
            )
            succeeded = True
        finally:
            self._metrics.observe_fetch(succeeded)

    def _tell(self, problem: str | None) -> None:
        """Log a problem once, and its end."""
        if problem == self._problem:
            return
        follows = self._settings.serving.follow
        if problem is not None:
            loaded = self._active_model.loaded_id
            kept = f" {loaded} stays loaded." if loaded else ""
            logger.warning("Following %s: %s.%s", follows, problem.rstrip("."), kept)
        else:
            logger.info("Following %s works again.", follows)
        self._problem = problem

    def _write(self, wanted: str | None, problem: str | None) -> None:
        now = datetime.now(UTC).timestamp()
        with suppress(OpinionLensError), self._state.writing() as database:
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

"""Downloads from the registry, and how far they are, whichever worker carries them out."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from typing import Annotated, Final, Literal

import msgspec

from opinionlens_server.active_model import ActiveModel
from opinionlens_server.metrics import Metrics
from opinionlens_server.state import SharedState, is_running
from opinionlens_server.threads import in_daemon_thread
from pipelines.errors import OpinionLensError
from pipelines.registry.entries import CachedModel
from pipelines.settings import Settings

KEPT: Final = 5
"""How many fetches are remembered."""

REPORT_SECONDS: Final = 0.25
"""Progress is written down at most this often."""

logger = logging.getLogger(__name__)

State = Literal["running", "done", "failed"]


class FetchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version to fetch; without a version or an alias the one with the alias ``champion``,
    or else the newest one."""

    model_name: Annotated[str, msgspec.Meta(min_length=1, examples=["sentiment"])]
    model_version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    alias: Annotated[str, msgspec.Meta(min_length=1, examples=["champion"])] | None = None
    set_default: bool = False
    """Let it answer as soon as it is here."""


class Fetch(msgspec.Struct, frozen=True):
    """One download."""

    id: int
    name: str
    version: int | None
    alias: str | None
    activate: bool
    state: State
    received: int
    """Bytes."""
    total: int | None
    """Bytes; None: not known yet."""
    message: str
    """What came of it."""

    @property
    def wanted(self) -> str:
        """The model and which version of it."""
        if self.version is not None:
            return f"{self.name}, version {self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


class Fetches:
    """Carries out fetches and tells how far they are.

    Parameters
    ----------
    settings : Settings
        Names the registry and the cache.
    active_model : ActiveModel
        Gets what is to answer.
    metrics : Metrics
        Counts the fetches.
    state : SharedState
        Where all workers see them.
    """

    def __init__(
        self, settings: Settings, active_model: ActiveModel, metrics: Metrics, state: SharedState
    ) -> None:
        self._settings = settings
        self._active_model = active_model
        self._metrics = metrics
        self._state = state
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, request: FetchRequest) -> CachedModel:
        """Fetch, check and compile a version, and let it answer if that is wanted.

        Raises
        ------
        OpinionLensError
            As :func:`pipelines.inference.fetching.fetch_model` does.
        """
        return await self._run(await asyncio.to_thread(self._begin, request), request)

    async def start(self, request: FetchRequest) -> bool:
        """Begin to fetch, and return; False if exactly this is going on already."""
        number = await asyncio.to_thread(self._begin_unless_running, request)
        if number is None:
            return False
        task = asyncio.create_task(self._run_quietly(number, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def recent(self) -> list[Fetch]:
        """The last few fetches of all workers, newest first."""
        fields = Fetch.__struct_fields__
        with self._state.database() as database:
            _give_up_lost(database)
            rows = database.execute(
                f"SELECT {', '.join(fields)} FROM fetches ORDER BY id DESC LIMIT ?", (KEPT,)
            ).fetchall()
        return [
            msgspec.convert(dict(zip(fields, row, strict=True)), Fetch, strict=False)
            for row in rows
        ]

    async def _run_quietly(self, number: int, request: FetchRequest) -> None:
        """A fetch that nobody waits for: what went wrong stands in its message."""
        try:
            await self._run(number, request)
        except OpinionLensError as error:
            logger.warning("Fetching %s failed: %s", request.model_name, error)
        except Exception:
            logger.exception("Fetching %s failed.", request.model_name)

    async def _run(self, number: int, request: FetchRequest) -> CachedModel:
        try:
            model = await in_daemon_thread(lambda: self._fetch(number, request), "fetch")
            if request.set_default:
                await self._active_model.activate(model.id)
        except Exception as error:
            known = isinstance(error, OpinionLensError)
            message = str(error) if known else "Something went wrong; the log says what."
            self._metrics.observe_fetch(False)
            await asyncio.to_thread(self._end, number, "failed", message)
            raise
        self._metrics.observe_fetch(True)
        told = f"{model.id} is here" + (" and answers." if request.set_default else ".")
        logger.info(told)
        await asyncio.to_thread(self._end, number, "done", told)
        return model

    def _fetch(self, number: int, request: FetchRequest) -> CachedModel:
        from pipelines.inference.fetching import fetch_model

        last = 0.0

        def report(received: int, total: int | None) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= REPORT_SECONDS:
                last = now
                self._update(number, received, total)

        return fetch_model(
            self._settings,
            request.model_name,
            version=request.model_version,
            alias=request.alias,
            on_progress=report,
        )

    def _begin(self, request: FetchRequest) -> int:
        with self._state.database() as database:
            return _insert(database, request)

    def _begin_unless_running(self, request: FetchRequest) -> int | None:
        with self._state.database() as database:
            _give_up_lost(database)
            running = database.execute(
                "SELECT 1 FROM fetches WHERE state = 'running' AND name = ? AND version IS ? "
                "AND alias IS ? AND activate >= ?",
                _wanted(request),
            ).fetchone()
            return None if running else _insert(database, request)

    def _update(self, number: int, received: int, total: int | None) -> None:
        with self._state.database() as database:
            database.execute(
                "UPDATE fetches SET received = ?, total = ? WHERE id = ?", (received, total, number)
            )

    def _end(self, number: int, state: State, message: str) -> None:
        with self._state.database() as database:
            database.execute(
                "UPDATE fetches SET state = ?, message = ? WHERE id = ?", (state, message, number)
            )


def _wanted(request: FetchRequest) -> tuple[str, int | None, str | None, bool]:
    return request.model_name, request.model_version, request.alias, request.set_default


def _insert(database: sqlite3.Connection, request: FetchRequest) -> int:
    """Write a fetch down, and forget the old ones."""
    added = database.execute(
        "INSERT INTO fetches (name, version, alias, activate, worker, state) "
        "VALUES (?, ?, ?, ?, ?, 'running')",
        (*_wanted(request), os.getpid()),
    ).lastrowid
    assert added is not None
    database.execute("DELETE FROM fetches WHERE id <= ? AND state != 'running'", (added - KEPT,))
    return added


def _give_up_lost(database: sqlite3.Connection) -> None:
    """Mark the fetches of workers that were killed."""
    running = database.execute("SELECT id, worker FROM fetches WHERE state = 'running'").fetchall()
    lost = [(number,) for number, worker in running if not is_running(worker)]
    database.executemany(
        "UPDATE fetches SET state = 'failed', message = 'Its process has ended. Fetch it again.' "
        "WHERE id = ?",
        lost,
    )

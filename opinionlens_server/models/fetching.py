"""Downloads from the registry and their progress, in all workers."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from typing import Annotated, Final, Literal

import msgspec

from opinionlens_server.models.active import ActiveModel
from opinionlens_server.models.threads import in_daemon_thread
from opinionlens_server.observability.metrics import Metrics
from opinionlens_server.security.public_messages import public_message
from opinionlens_server.shared_state import SharedState, is_running
from pipelines.cache.entries import CachedModel
from pipelines.config.settings import Settings
from pipelines.errors import OpinionLensError

KEPT: Final = 5
"""Number of fetches that are kept."""

MOST_VERSIONS: Final = 2**31 - 1
"""The highest number of a version that registries know."""

REPORT_SECONDS: Final = 0.25
"""Progress is stored at most this often."""

logger = logging.getLogger(__name__)

State = Literal["running", "done", "failed"]


class FetchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version to fetch; without a version or an alias the one with the alias ``champion``,
    or else the newest one."""

    model_name: Annotated[str, msgspec.Meta(min_length=1, examples=["sentiment"])]
    model_version: Annotated[int, msgspec.Meta(ge=1, le=MOST_VERSIONS)] | None = None
    alias: Annotated[str, msgspec.Meta(min_length=1, examples=["champion"])] | None = None
    set_default: bool = False
    """Activate it after the download."""


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
    """The result or the error."""

    @property
    def wanted(self) -> str:
        """The model and which version of it."""
        if self.version is not None:
            return f"{self.name}, version {self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


class Fetches:
    """Runs fetches and reports their progress."""

    def __init__(
        self, settings: Settings, active_model: ActiveModel, metrics: Metrics, state: SharedState
    ) -> None:
        self._settings = settings
        self._active_model = active_model
        self._metrics = metrics
        self._state = state
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, request: FetchRequest) -> CachedModel:
        """Fetch, check and compile a version, and activate it if requested.

        Raises
        ------
        OpinionLensError
            As :func:`pipelines.workflows.fetch.fetch_model` does.
        """
        return await self._run(await asyncio.to_thread(self._begin, request), request)

    async def start(self, request: FetchRequest) -> bool:
        """Start a fetch in the background; False if the same one is running already."""
        number = await asyncio.to_thread(self._begin_unless_running, request)
        if number is None:
            return False
        task = asyncio.create_task(self._run_quietly(number, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def recent(self) -> list[Fetch]:
        """The last few fetches of all workers, newest first."""
        self._fail_lost()
        fields = Fetch.__struct_fields__
        with self._state.reading() as database:
            rows = database.execute(
                f"SELECT {', '.join(fields)} FROM fetches ORDER BY id DESC LIMIT ?", (KEPT,)
            ).fetchall()
        return [
            msgspec.convert(dict(zip(fields, row, strict=True)), Fetch, strict=False)
            for row in rows
        ]

    async def _run_quietly(self, number: int, request: FetchRequest) -> None:
        """Run a fetch in the background; its message holds any error."""
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
            message = public_message(error) if known else "It failed; the log has the details."
            self._metrics.observe_fetch(False)
            await asyncio.to_thread(self._end, number, "failed", message)
            raise
        self._metrics.observe_fetch(True)
        result = f"{model.id} is fetched" + (" and active." if request.set_default else ".")
        logger.info(result)
        await asyncio.to_thread(self._end, number, "done", result)
        return model

    def _fetch(self, number: int, request: FetchRequest) -> CachedModel:
        from pipelines.workflows.fetch import fetch_model

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
        with self._state.writing() as database:
            return _insert(database, request)

    def _begin_unless_running(self, request: FetchRequest) -> int | None:
        self._fail_lost()
        with self._state.writing() as database:
            running = database.execute(
                "SELECT 1 FROM fetches WHERE state = 'running' AND name = ? AND version IS ? "
                "AND alias IS ? AND activate >= ?",
                _wanted(request),
            ).fetchone()
            return None if running else _insert(database, request)

    def _update(self, number: int, received: int, total: int | None) -> None:
        with self._state.writing() as database:
            database.execute(
                "UPDATE fetches SET received = ?, total = ? WHERE id = ?", (received, total, number)
            )

    def _end(self, number: int, state: State, message: str) -> None:
        with self._state.writing() as database:
            database.execute(
                "UPDATE fetches SET state = ?, message = ? WHERE id = ?", (state, message, number)
            )

    def _fail_lost(self) -> None:
        """Mark the fetches of workers that were killed as failed."""
        query = "SELECT id, worker FROM fetches WHERE state = 'running'"
        with self._state.reading() as database:
            running = database.execute(query).fetchall()
        for number, worker in running:
            if not is_running(worker):
                self._end(number, "failed", "Its process has ended. Fetch it again.")


def _wanted(request: FetchRequest) -> tuple[str, int | None, str | None, bool]:
    return request.model_name, request.model_version, request.alias, request.set_default


def _insert(database: sqlite3.Connection, request: FetchRequest) -> int:
    """Add a fetch, and delete old ones."""
    added = database.execute(
        "INSERT INTO fetches (name, version, alias, activate, worker, state) "
        "VALUES (?, ?, ?, ?, ?, 'running')",
        (*_wanted(request), os.getpid()),
    ).lastrowid
    assert added is not None
    database.execute("DELETE FROM fetches WHERE id <= ? AND state != 'running'", (added - KEPT,))
    return added

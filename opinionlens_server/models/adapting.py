"""Making a model of labelled texts, one at a time in all workers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from opinionlens_server.models.fetching import State
from opinionlens_server.models.threads import in_daemon_thread
from opinionlens_server.security.public_messages import public_message
from opinionlens_server.shared_state import SharedState, is_running
from pipelines.errors import OpinionLensError

if TYPE_CHECKING:
    from pipelines.workflows.adapt import Adapted
    from pipelines.workflows.train_on_labels import Trained

logger = logging.getLogger(__name__)


class AdaptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to learn from, and what to make of it."""

    source: str
    """What it learns from: the name of a file or a labelling project."""
    name: str
    """Registered model that gets a new version."""
    learn: Callable[[Callable[[str], None]], Adapted | Trained]
    """Does it, in a thread; it is given what to tell the stages to."""


class Adaptation(msgspec.Struct, frozen=True):
    """The last adaptation of the service."""

    file: str
    name: str
    state: State
    message: str
    """What is being done, or the error."""
    result: dict[str, Any] | None
    """See `pipelines.workflows.adapt.Adapted`, which other workers need not import, or
    `pipelines.workflows.train_on_labels.Trained`."""


class Adaptations:
    """Runs adaptations and keeps the last one."""

    def __init__(self, state: SharedState) -> None:
        self._state = state
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, request: AdaptRequest) -> bool:
        """Start in the background; False if another one is running."""
        if not await asyncio.to_thread(self._begin_unless_running, request):
            return False
        task = asyncio.create_task(self._run(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def last(self) -> Adaptation | None:
        """The last one of all workers."""
        with self._state.reading() as database:
            row = database.execute(
                "SELECT file, name, state, message, result, worker FROM adaptation"
            ).fetchone()
        if row is None:
            return None
        file, name, state, message, result, worker = row
        if state == "running" and not is_running(worker):
            state, message = "failed", "Its process has ended. Send the file again."
        decoded = msgspec.json.decode(result) if result else None
        return Adaptation(file, name, state, message, decoded)

    async def _run(self, request: AdaptRequest) -> None:
        try:
            adapted = await in_daemon_thread(
                lambda: request.learn(lambda stage: self._note("running", stage)), "adapt"
            )
        except OpinionLensError as error:
            logger.warning("Adapting to %s failed: %s", request.source, error)
            await asyncio.to_thread(self._note, "failed", public_message(error))
        except Exception:
            logger.exception("Adapting to %s failed.", request.source)
            await asyncio.to_thread(self._note, "failed", "It failed; the log has the details.")
        else:
            logger.info("%s is adapted.", adapted.cached_id)
            result = msgspec.json.encode(adapted).decode()
            await asyncio.to_thread(self._note, "done", "", result)

    def _begin_unless_running(self, request: AdaptRequest) -> bool:
        with self._state.writing() as database:
            running = database.execute(
                "SELECT worker FROM adaptation WHERE state = 'running'"
            ).fetchone()
            if running and is_running(*running):
                return False
            database.execute(
                "INSERT OR REPLACE INTO adaptation (one, file, name, worker, state) "
                "VALUES (1, ?, ?, ?, 'running')",
                (request.source, request.name, os.getpid()),
            )
            return True

    def _note(self, state: State, message: str, result: str | None = None) -> None:
        with self._state.writing() as database:
            database.execute(
                "UPDATE adaptation SET state = ?, message = ?, result = ?",
                (state, message, result),
            )

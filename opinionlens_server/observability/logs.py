"""The format of log records: readable lines in a terminal, JSON elsewhere.

Modules log with the standard library. `olens serve` sets :class:`LogFormatter` in the logging
configuration of its workers, so Uvicorn's records have the same format.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The ID of the current request, also in threads started for it."""

_EXTRA: Final = ("method", "route", "status", "seconds", "model", "trace")
"""Fields of records besides their message."""


class LogFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats records of the standard library with their time, level, logger and request ID.

    Parameters
    ----------
    terminal : bool, optional
        Whether to write readable lines. By default, whether standard error is a terminal.
    """

    def __init__(self, terminal: bool | None = None) -> None:
        if terminal is None:
            terminal = sys.stderr.isatty()
        for_people = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        for_programs: list[Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
        super().__init__(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(_EXTRA),
                _add_request_id,
                _add_process,
                structlog.processors.TimeStamper(fmt="iso", utc=not terminal),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(for_people if terminal else for_programs),
            ],
        )


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if (request_id := REQUEST_ID.get()) is not None:
        event["request_id"] = request_id
    return event


def _add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the process ID of the worker."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["process"] = record.process
    return event

"""Threads: for work that may hang, and for work that has to give way to the event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

NICER: Final = 3
"""What is added to the niceness of threads that give way."""


def work_threads() -> ThreadPoolExecutor:
    """The threads for :func:`asyncio.to_thread`, and those that they start: they give way."""
    return ThreadPoolExecutor(thread_name_prefix="work", initializer=give_way)


def give_way() -> None:
    """Let the processor leave this thread for the event loop as soon as there is a request.

    Other systems than Linux have no priorities of single threads.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # where a sandbox forbids it
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, 0, min(own + NICER, 19))


def in_daemon_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Start `work` in a thread of its own.

    The threads of :func:`asyncio.to_thread` are few, and the process waits for them at its end: a
    registry that does not answer would block batches of texts, and then the shutdown.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        give_way()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return asyncio.wrap_future(future)

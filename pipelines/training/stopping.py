"""Ctrl-C during training: it ends a fit soon, and never a write to a database half-way.

Python runs signal handlers in the main thread only. While one raises an exception inside a
compiled function, the function returns a result *and* an exception, which Python refuses with
`SystemError`; inside SQLAlchemy it leaves SQLite locked. So what computes runs in another thread,
and the handler only takes note.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from types import FrameType
from typing import Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Flag = NDArray[np.uint8]
"""Shape (1,); not 0 once somebody wants the computation to end. Compiled code can read it."""

_POLL: Final = 0.05
"""Seconds between two checks for Ctrl-C, while the main thread waits."""

PATIENCE: Final = 3.0
"""Seconds after Ctrl-C in which a computation may end."""

_flag: ContextVar[Flag] = ContextVar("stop_flag")


def stop_flag() -> Flag:
    """The flag of the computation that is going on; it stays 0 outside of `Stop.run`."""
    return _flag.get(np.zeros(1, dtype=np.uint8))


def end_if_asked() -> None:
    """Raise KeyboardInterrupt if the computation that is going on is asked to stop."""
    if stop_flag()[0]:
        raise KeyboardInterrupt


class Stop:
    """Turns Ctrl-C into a request to stop, inside its ``with`` block.

    Pressed once, it ends the computation in `run` as soon as that reads its `stop_flag`. A
    computation of another library, which does not read it, is left behind after `PATIENCE`; until
    then, its result counts. Then `check` and the next `run` raise `KeyboardInterrupt`. Pressed
    twice, `run` no longer waits. Pressed three times, it raises anywhere.

    In another thread than the main one, and where somebody else handles the signal, nothing is
    held back.

    Parameters
    ----------
    on_press : callable, optional
        Called once, when `run` has to wait for a computation after a first press.
    """

    def __init__(self, on_press: Callable[[], None] = lambda: None) -> None:
        self._on_press = on_press
        self._told = False
        self._presses = 0
        self._pressed_at = 0.0
        self._flag = np.zeros(1, dtype=np.uint8)
        self._holding = False

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._holding = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._flag[0] = 1  # for a computation that was left behind
        if self._holding:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._holding = False

    @property
    def pressed(self) -> bool:
        """Whether Ctrl-C was pressed and nothing has come of it yet."""
        return self._presses > 0

    def taken(self) -> None:
        """Forget one press, which has had its effect."""
        self._presses -= 1
        if not self._presses:
            self._told = False
            self._flag = np.zeros(1, dtype=np.uint8)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.pressed:
            raise KeyboardInterrupt

    def run(self, compute: Callable[[], T]) -> T:
        """What `compute` returns, called in a thread of its own.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C was pressed before, or ended the computation, or did not end it in time, or
            was pressed twice. In the last two cases the thread is left behind: it goes on until
            it or the process ends.
        """
        self.check()
        found: Future[T] = Future()
        thread = _start(compute, found, self._flag)
        try:
            while thread.is_alive():
                thread.join(_POLL)
                if self.pressed and not self._told:
                    self._told = True
                    self._on_press()
                if thread.is_alive() and (self._presses > 1 or self._is_overdue()):
                    raise KeyboardInterrupt
        except BaseException:
            self._flag[0] = 1
            raise
        return found.result()

    def _is_overdue(self) -> bool:
        return self.pressed and time.monotonic() - self._pressed_at > PATIENCE

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._presses += 1
        self._pressed_at = time.monotonic()
        self._flag[0] = 1
        if self._presses > 2:
            raise KeyboardInterrupt


def _start(compute: Callable[[], T], found: Future[T], flag: Flag) -> threading.Thread:
    def work() -> None:
        try:
            _flag.set(flag)
            found.set_result(compute())
        except BaseException as error:  # to be raised where the result is wanted
            found.set_exception(error)

    thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
    thread.start()
    return thread

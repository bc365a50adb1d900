"""Ctrl-C in a search: it ends a fit at once, and never a write to a database half-way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class Stop:
    """Holds Ctrl-C back, other than where it may raise.

    An exception in the midst of SQLAlchemy leaves statements open, and SQLite locked for whoever
    would write next. Pressed again, it raises wherever it comes. In another thread than the main
    one, and where somebody else handles the signal, nothing is held back.

    Attributes
    ----------
    presses : int
        How often Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.presses = 0
        self._at_once = False
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
        if self._holding:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._holding = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Here Ctrl-C raises.

        Raises
        ------
        KeyboardInterrupt
            If it is pressed meanwhile, or was before. Worker threads learn of it on entering.
        """
        main = threading.current_thread() is threading.main_thread()
        try:
            # In this order: a signal between the two is not lost.
            self._at_once = main
            if self.presses:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.presses += 1
        if self.presses > 1 or self._at_once:
            raise KeyboardInterrupt

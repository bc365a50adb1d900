"""Locks between processes, which the kernel releases when a process ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Locks:
    """Named locks, each a file of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for the lock and hold it during the block."""
        with self._path(name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def try_to_hold(self, name: str) -> Iterator[bool]:
        """Hold the lock during the block if it is free; yields whether it is."""
        with self._path(name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.lock"

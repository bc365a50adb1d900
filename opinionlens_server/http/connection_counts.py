"""How many connections clients have to the other workers of a service."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from typing import Final

from opinionlens_server.security.rate_limit import key_of
from pipelines.errors import StorageError

WORKERS: Final = 32
"""Those that have room in the file of 1 MiB; all others count for themselves alone."""

SLOTS: Final = (1 << 13) - 1
"""Numbers of a worker: clients that share one, which is rare, share their limit."""

_ROW: Final = 1 + SLOTS
_BYTES: Final = 4


class ConnectionCounts:
    """The connections of all workers by their clients, in a file that all of them map.

    Each worker has a row of its own in it: the number of all its connections, and those of its
    clients. Only that worker writes there. It holds the lock of the row, which the kernel
    releases when the worker ends, however it ends; then the row is cleared by the next one.

    Parameters
    ----------
    file : Path
        Created if missing.

    Raises
    ------
    StorageError
        If the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        size = WORKERS * _ROW * _BYTES
        try:
            self._file = file.open("a+b")  # kept open for the lock
            # Written in full: a mapped page without room on the disk would kill the process.
            self._file.write(bytes(max(0, size - self._file.tell())))
            self._file.flush()
            numbers = memoryview(mmap(self._file.fileno(), size)).cast("I")
        except OSError as error:
            raise StorageError(
                f"{file}, which the workers share, cannot be used: {error}"
            ) from error
        self._rows = [numbers[start : start + _ROW] for start in range(0, WORKERS * _ROW, _ROW)]
        fcntl.flock(self._file, fcntl.LOCK_EX)  # one worker after the other
        free = list(self._lock_free_rows())
        for place in free:
            self._rows[place][:] = _empty_row()
        for place in free[1:]:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._own = self._rows.pop(free[0]) if free else _empty_row()

    def add(self, client: str, change: int) -> None:
        """Count a connection of `client` to this worker (1), or one that has ended (-1)."""
        self._own[0] += change
        self._own[_slot(client)] += change

    def elsewhere(self, client: str) -> int:
        """Connections of `client` to the other workers."""
        slot = _slot(client)
        return sum(row[slot] for row in self._rows)

    @property
    def all_elsewhere(self) -> int:
        """Connections of all clients to the other workers."""
        return sum(row[0] for row in self._rows)

    def _lock_free_rows(self) -> Iterator[int]:
        for place in range(WORKERS):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                continue
            yield place


def _empty_row() -> memoryview:
    return memoryview(bytearray(_ROW * _BYTES)).cast("I")


def _slot(client: str) -> int:
    return 1 + key_of(client) % SLOTS

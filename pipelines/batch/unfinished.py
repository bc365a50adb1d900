"""What an unfinished run leaves, so that it can go on: its plan, its output so far, its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from pipelines.cache.locks import Locks
from pipelines.errors import DataError, StorageError
from pipelines.files import delete, sync, write_synced
from pipelines.text.showing import in_one_line

_PLAN: Final = "plan.json"
_STATE: Final = "state.json"
_LOCK: Final = "run"

Plan = Mapping[str, object]
"""All that the output depends on, in words of the command."""


class State(msgspec.Struct):
    """How far an output is.

    Attributes
    ----------
    source : int
        Sources whose rows are all in the output.
    row : int
        Number of the last row of the next source that is in the output, or was left out.
    size : int
        Bytes of the output, if it grows; what is behind them is of no use.
    parts : int
        Finished parts, if it has parts.
    rejects : int
        Bytes of the list of rows that were left out.
    counts : dict of str to int
        Rows by prediction; of rows without a text under ``""``.
    left_out : int
        Rows that could not be read.
    columns : list of str
        What the columns of the output are called.
    complete : bool
        Whether only the move into place is missing.
    """

    source: int = 0
    row: int = 0
    size: int = 0
    parts: int = 0
    rejects: int = 0
    counts: dict[str, int] = {}
    left_out: int = 0
    columns: list[str] = []
    complete: bool = False


class Unfinished:
    """The folder of a run that is not finished.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other runs out during the block.

        Raises
        ------
        StorageError
            If another run is at work.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with Locks(self.folder).try_to_hold(_LOCK) as free:
            if not free:
                raise StorageError(
                    f"Another run is writing this output ({self.folder}). Wait for it, or choose "
                    "another --output."
                )
            yield

    @property
    def exists(self) -> bool:
        """Whether there is something to go on with."""
        return (self.folder / _PLAN).is_file()

    def begin(self, plan: Plan) -> None:
        """Remember what is done; what another run has left is deleted."""
        for path in self.folder.iterdir():
            if path.suffix != ".lock":
                delete(path)
        write_synced(self.folder / _PLAN, msgspec.json.encode(plan))

    def check(self, plan: Plan) -> None:
        """Raise a `DataError` unless the unfinished run does the same as `plan`."""
        before = msgspec.json.decode((self.folder / _PLAN).read_bytes())
        now = msgspec.json.decode(msgspec.json.encode(plan))
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            differences = ", ".join(
                f"{name} (was {_shown(before.get(name))}, is {_shown(now[name])})"
                for name in changed
            )
            raise DataError(
                f"The unfinished run cannot go on, because something else is asked for now: "
                f"{differences}. Say the same as then, or start again with --overwrite."
            )

    def part(self, number: int) -> Path:
        """The folder of one of the outputs; it is made."""
        folder = self.folder / f"{number:05}"
        folder.mkdir(exist_ok=True)
        return folder

    def remove(self) -> None:
        """Delete it all, first what says that there is something to go on with."""
        (self.folder / _PLAN).unlink(missing_ok=True)
        delete(self.folder)


def read_state(folder: Path) -> State:
    """The last state that was written in the folder of an output."""
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=State)
    except FileNotFoundError:
        return State()


def write_state(folder: Path, state: State) -> None:
    """Remember a state; a kill leaves this one or the one before."""
    fresh = folder / f"{_STATE}.new"
    write_synced(fresh, msgspec.json.encode(state))
    fresh.replace(folder / _STATE)
    sync(folder)


class GrowingFile:
    """A file to whose end is written, from a size that is known to be good.

    Parameters
    ----------
    path : Path
    size : int
        What is behind these bytes is cut off.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._file = path.open("r+b" if size else "wb")
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, content: bytes) -> None:
        """Append `content`."""
        self._file.write(content)

    def sync(self) -> int:
        """Wait until everything is on the disk; returns the size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _shown(value: object) -> str:
    return in_one_line(value if isinstance(value, str) else msgspec.json.encode(value).decode(), 60)

"""Rows on their way into a file, which is complete or not there."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from pipelines.batch.unfinished import GrowingFile, State
from pipelines.errors import DataError
from pipelines.files import sync
from pipelines.tables.results import ResultWriter
from pipelines.tables.table import Batch

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    import polars as pl

PACKINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    ".gz": lambda content: gzip.compress(content, 6, mtime=0),
    ".zst": zstd.compress,
}
"""By the end of a name. What is compressed piece by piece can be joined."""
_LEVEL: Final = 1
"""Of Zstandard in Parquet: a tenth more bytes than at level 3, in half the time."""


class Output(Protocol):
    """A file that is being written in a folder of its own."""

    def write(self, batch: Batch, added: pl.DataFrame) -> None:
        """Add rows."""
        ...

    def keep(self, state: State) -> None:
        """Put what was written onto the disk, and say in `state` how much it is."""
        ...

    def finish(self) -> Path:
        """The complete file, after the last `keep`."""
        ...


class ByteOutput:
    """CSV, JSONL or JSON: bytes behind each other.

    Parameters
    ----------
    folder : Path
    writer : ResultWriter
    state : State
        As `keep` said it last.
    packing : str
        One of `PACKINGS`, or nothing.
    """

    def __init__(self, folder: Path, writer: ResultWriter, state: State, packing: str = "") -> None:
        self._writer = writer
        self._pack = PACKINGS.get(packing, bytes)
        self._file = GrowingFile(folder / "rows", state.size)
        if not state.size:
            self._append(writer.head())
        elif state.counts:
            writer.go_on()

    def write(self, batch: Batch, added: pl.DataFrame) -> None:
        """See `Output`."""
        self._append(self._writer.write(batch, added))

    def keep(self, state: State) -> None:
        """See `Output`."""
        state.size = self._file.sync()

    def finish(self) -> Path:
        """See `Output`."""
        self._append(self._writer.tail())
        self._file.sync()
        self._file.close()
        return self._file.path

    def _append(self, content: bytes) -> None:
        if content:
            self._file.write(self._pack(content))


class ParquetOutput:
    """Parquet: parts, from which one file is made in the end.

    A Parquet file cannot be written on after a kill, since it is readable only with its end.
    """

    def __init__(self, folder: Path, writer: ResultWriter, state: State) -> None:
        self._folder = folder
        self._writer = writer
        self._parts = state.parts
        self._frames: list[pl.DataFrame] = []

    def write(self, batch: Batch, added: pl.DataFrame) -> None:
        """See `Output`."""
        self._frames.append(self._writer.frame(batch, added))

    def keep(self, state: State) -> None:
        """See `Output`."""
        import polars as pl

        if self._frames:
            target = self._part(self._parts)
            pl.concat(self._frames).write_parquet(target, compression="lz4", statistics=False)
            sync(target)
            self._parts += 1
            self._frames = []
        state.parts = self._parts

    def finish(self) -> Path:
        """See `Output`."""
        import polars as pl

        target = self._folder / "rows"
        parts = [self._part(number) for number in range(self._parts)]
        if not parts:
            pl.DataFrame(schema=dict.fromkeys(self._writer.columns, pl.String)).write_parquet(
                target
            )
            return target
        try:
            pl.scan_parquet(parts, glob=False).sink_parquet(
                target, compression_level=_LEVEL, sync_on_close="all"
            )
        except pl.exceptions.SchemaError as error:
            raise DataError(
                "The files have columns of different types, so they do not go into one Parquet "
                f"file ({str(error).splitlines()[0][:200]}). Let --output be a folder, or CSV."
            ) from None
        return target

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:06}.parquet"


def open_output(folder: Path, writer: ResultWriter, state: State, packing: str) -> Output:
    """The output that goes on from `state`."""
    if writer.kind == "Parquet":
        return ParquetOutput(folder, writer, state)
    return ByteOutput(folder, writer, state, packing)

"""Rows by the digest of their text, in memory until they take too much of it, then on disk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

_SHARE: Final = 8
"""What is held, and what is read again at a time, is this part of the memory; work on it takes
several times as much."""
_ROW_GROUP: Final = 8_192
_DIGESTS: Final = 1 << 64


class Spill:
    """Collects rows and gives them back in parts, each with all rows of a range of digests.

    Parameters
    ----------
    folder : Path
        An empty folder for rows that do not fit.
    memory : int
        Bytes that may be used.
    """

    def __init__(self, folder: Path, memory: int) -> None:
        self._folder = folder
        self._most = memory // _SHARE
        self._held: list[pl.DataFrame] = []
        self._held_bytes = self._bytes = 0
        self._files: list[Path] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows, which have a column ``digest`` (UInt64)."""
        self._held.append(rows)
        self._held_bytes += int(rows.estimated_size())
        if self._held_bytes > self._most:
            self._write()

    def parts(self) -> Iterator[pl.DataFrame]:
        """All rows, in ascending ranges of digests; one part if all of them are in memory."""
        import polars as pl

        if not self._files:
            yield pl.concat(self._held)
            return
        if self._held:
            self._write()
        number = -(-self._bytes // max(1, self._most))
        bounds = [_DIGESTS * at // number for at in range(number + 1)]
        rows = pl.scan_parquet(self._files)
        for low, high in pairwise(bounds):
            first, last = (pl.lit(each, pl.UInt64) for each in (low, high - 1))
            # The files are sorted, so most row groups are passed over by their statistics.
            yield rows.filter(pl.col("digest").is_between(first, last)).collect()

    def _write(self) -> None:
        import polars as pl

        path = self._folder / f"{len(self._files):06}.parquet"
        pl.concat(self._held).sort("digest").write_parquet(
            path, compression_level=1, row_group_size=_ROW_GROUP
        )
        self._files.append(path)
        self._bytes += self._held_bytes
        self._held, self._held_bytes = [], 0

"""Rows of blocks as the solver reads them: written to disk once, as many in memory as may be."""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipelines.files import explained, remove_abandoned
from pipelines.text.row_blocks import RowBlocks

_LEAST: Final = 1 << 24
"""Entries that are in memory together however little it has: rows that always stand in the same
company take many times as long (reviews of films: 15 readings to a tolerance that 40 do not
reach)."""
_ROW: Final = 180
"""Bytes that fitting takes for each row besides its entries,"""
_COLUMN: Final = 40
"""and for each column."""
_BLOCK: Final = 128 << 20
"""Bytes of a block that is read or computed."""


class Entries(NamedTuple):
    """Rows as the solver reads them: row i has the entries from ``begins[i]`` to ``ends[i]``.

    The value of an entry is ``values[entry]``. Without values it is the weight of its column times
    ``scales[i]``, and a solver that works on coefficients times weights needs only their squares.
    """

    begins: NDArray[np.int64]
    """Shape (n,)."""
    ends: NDArray[np.int64]
    """Shape (n,)."""
    columns: NDArray[np.int32]
    """Shape (n_entries,)."""
    values: NDArray[np.float32] | None
    """Shape (n_entries,)."""
    scales: NDArray[np.float32]
    """Shape (n,); empty if there are values."""
    squares: NDArray[np.float32]
    """Of the weights, shape (n_columns,); empty if there are values."""

    @classmethod
    def of(cls, X: csr_matrix, rows: NDArray[np.intp] | slice = slice(None)) -> Entries:
        """Some rows of a matrix, without a copy of their entries."""
        begins, ends = (at[rows].astype(np.int64) for at in (X.indptr[:-1], X.indptr[1:]))
        none = np.empty(0, dtype=np.float32)
        return cls(begins, ends, X.indices, X.data, none, none)


class Spool:
    """Rows of blocks in files, of which some are in memory.

    Parameters
    ----------
    X : RowBlocks
        Computed once. Its `memory` is for all that fitting takes.
    folder : Path
        Where the files are written.

    Attributes
    ----------
    room : int
        Entries that may be in memory together.
    """

    def __init__(self, X: RowBlocks, folder: Path) -> None:
        n_rows = X.shape[0]
        self._places = X.slices()
        self._files = [folder / str(number) for number in range(len(self._places))]
        self._lengths = np.zeros(n_rows, dtype=np.int32)
        weights = X.weights
        scales = np.zeros(0 if weights is None else n_rows, dtype=np.float32)
        for file, place, rows in zip(self._files, self._places, X, strict=True):
            self._lengths[place] = np.diff(rows.indptr)
            with file.open("wb") as target:
                target.write(rows.indices)
                if weights is None:
                    target.write(rows.data)
                else:
                    own = scales[place]
                    _find_scales(rows.indptr, rows.indices, rows.data, weights, own)
        free = X.memory - _ROW * n_rows - _COLUMN * X.shape[1] - _BLOCK
        self.room = max(_LEAST, free // (8 if weights is None else 4))
        sizes = self._sizes(self._lengths)
        # What is not written to takes no memory.
        most = max(min(self.room, int(sizes.sum())), int(sizes.max(initial=0)))
        begins, ends = np.zeros((2, n_rows), dtype=np.int64)
        columns = np.empty(most, dtype=np.int32)
        values = np.empty(most, dtype=np.float32) if weights is None else None
        squares = np.empty(0, dtype=np.float32) if weights is None else weights**2
        self._entries = Entries(begins, ends, columns, values, scales, squares)

    def groups(self, wanted: NDArray[np.bool_], order: Sequence[int]) -> list[list[int]]:
        """The blocks in this order, in groups whose `wanted` rows can be in memory together."""
        sizes = self._sizes(self._lengths * wanted)
        share = sizes.sum() / max(1, -(-sizes.sum() // self.room))
        groups: list[list[int]] = [[]]
        filled = 0
        for number in order:
            if groups[-1] and (filled >= share or filled + sizes[number] > self.room):
                groups.append([])
                filled = 0
            groups[-1].append(number)
            filled += sizes[number]
        return groups

    def read(
        self, group: Sequence[int], wanted: NDArray[np.bool_]
    ) -> tuple[Entries, NDArray[np.intp]]:
        """The `wanted` rows of some blocks, and their numbers; until others are read."""
        chosen, used = [], 0
        for number in group:
            place = self._places[number]
            own, lengths = wanted[place], self._lengths[place]
            rows = place.start + np.flatnonzero(own)
            ends = used + np.cumsum(lengths[own], dtype=np.int64)
            self._entries.begins[rows], self._entries.ends[rows] = ends - lengths[own], ends
            part = slice(used, used + int(lengths[own].sum(dtype=np.int64)))
            kept = None if own.all() else np.repeat(own, lengths)
            with self._files[number].open("rb") as file:
                for array in (self._entries.columns, self._entries.values):
                    if array is not None:
                        _read(file, array[part], kept)
            chosen.append(rows)
            used = part.stop
        return self._entries, np.concatenate(chosen)

    def _sizes(self, lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        """Entries of each block, of those of each row."""
        totals = [lengths[place].sum(dtype=np.int64) for place in self._places]
        return np.array(totals, dtype=np.int64)


@contextmanager
def spooled(X: RowBlocks) -> Iterator[Spool]:
    """The rows in files of their folder until the end of the ``with`` block.

    Raises
    ------
    StorageError
        If the disk is full.
    """
    remove_abandoned(X.folder / "rows")
    with (
        explained(X.folder),
        tempfile.TemporaryDirectory(prefix=".rows-", dir=X.folder) as temporary,
    ):
        yield Spool(X, Path(temporary))


def _read(
    file: BufferedReader, target: NDArray[np.generic], kept: NDArray[np.bool_] | None
) -> None:
    """The next array of a file, or those of its elements that are kept."""
    # Not memory-mapped: the pages of a map count as memory of this process until others need them.
    if kept is None:
        file.readinto(target.data)
    else:
        target[:] = np.fromfile(file, target.dtype, kept.size)[kept]


@njit(cache=True, nogil=True)
def _find_scales(
    offsets: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    scales: NDArray[np.float32],
) -> None:
    """What the weights are multiplied with in each row."""
    for row in range(scales.size):
        largest = np.float32(0)
        for entry in range(offsets[row], offsets[row + 1]):
            weight = weights[columns[entry]]
            if abs(weight) > largest:
                largest = abs(weight)
                scales[row] = values[entry] / weight

"""Sparse rows that together do not fit into memory, in blocks that do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Concatenate, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.files import explained, remove_abandoned

T = TypeVar("T")


class Block(NamedTuple):
    """Some rows, read or computed whenever they are asked for."""

    n_rows: int
    read: Callable[[], sp.csr_matrix]


class RowBlocks:
    """The rows of a sparse matrix, of which one block at a time is in memory.

    Iterating gives the blocks, each a csr_matrix, in the order of the rows.

    Parameters
    ----------
    blocks : sequence of Block
    n_columns : int
    folder : Path
        Where `spooled` may write.

    Examples
    --------
    >>> from pathlib import Path
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.text.row_blocks import Block, RowBlocks
    >>> one, two = csr_matrix([[1, 0], [0, 2]]), csr_matrix([[3, 0]])
    >>> rows = RowBlocks([Block(2, lambda: one), Block(1, lambda: two)], 2, Path())
    >>> rows.shape, rows[[1, 2]].map(abs, 2).gathered().toarray().tolist()
    ((3, 2), [[0, 2], [3, 0]])
    """

    def __init__(self, blocks: Sequence[Block], n_columns: int, folder: Path) -> None:
        self.blocks = list(blocks)
        self.shape = (sum(block.n_rows for block in blocks), n_columns)
        self.folder = folder

    def __iter__(self) -> Iterator[sp.csr_matrix]:
        for block in self.blocks:
            yield block.read()

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.generic]) -> RowBlocks:
        """The rows of a slice or mask, or of ascending numbers, which may occur repeatedly."""
        chosen = []
        for block, part in zip(self.blocks, self.divided(rows), strict=True):
            if np.array_equal(part, np.arange(block.n_rows)):
                chosen.append(block)
            elif part.size:
                chosen.append(Block(part.size, partial(_rows_of, block, part)))
        return RowBlocks(chosen, self.shape[1], self.folder)

    def divided(
        self, rows: slice | Sequence[int] | NDArray[np.generic]
    ) -> Iterator[NDArray[np.intp]]:
        """The numbers that rows, as for ``[]``, have within each block."""
        numbers = np.arange(self.shape[0])[rows]
        for place in self.slices():
            begin, end = np.searchsorted(numbers, [place.start, place.stop])
            yield numbers[begin:end] - place.start

    def each(
        self, work: Callable[Concatenate[sp.csr_matrix, ...], T], *arrays: NDArray[np.generic]
    ) -> Iterator[T]:
        """What `work` makes of each block and its rows of `arrays`, in the order of the blocks."""
        for block, place in zip(self, self.slices(), strict=True):
            yield work(block, *(array[place] for array in arrays))

    def chosen(self, numbers: Sequence[int]) -> RowBlocks:
        """Some of the blocks, by their numbers."""
        return RowBlocks([self.blocks[at] for at in numbers], self.shape[1], self.folder)

    def slices(self) -> list[slice]:
        """The rows of each block."""
        ends = np.cumsum([0, *(block.n_rows for block in self.blocks)]).tolist()
        return [slice(begin, end) for begin, end in pairwise(ends)]

    def map(self, change: Callable[[sp.csr_matrix], sp.csr_matrix], n_columns: int) -> RowBlocks:
        """What `change` makes of each block, whenever it is read."""
        changed = [Block(b.n_rows, partial(_changed, b, change)) for b in self.blocks]
        return RowBlocks(changed, n_columns, self.folder)

    def followed_by(self, other: RowBlocks) -> RowBlocks:
        """These rows and those of `other`, which has the same columns."""
        return RowBlocks([*self.blocks, *other.blocks], self.shape[1], self.folder)

    def gathered(self) -> sp.csr_matrix:
        """All rows in memory."""
        blocks = list(self)
        return blocks[0] if len(blocks) == 1 else sp.vstack(blocks, format="csr")

    @contextmanager
    def spooled(self) -> Iterator[RowBlocks]:
        """The same blocks, computed once and kept in files until the end of the ``with`` block.

        Raises
        ------
        StorageError
            If the disk is full.
        """
        remove_abandoned(self.folder / "rows")
        with (
            explained(self.folder),
            tempfile.TemporaryDirectory(prefix=".rows-", dir=self.folder) as temporary,
        ):
            kept = []
            for number, rows in enumerate(self):
                path = Path(temporary) / str(number)
                _write(path, rows)
                kept.append(Block(rows.shape[0], partial(_read, path, rows.shape)))
            yield RowBlocks(kept, self.shape[1], self.folder)


def _rows_of(block: Block, rows: NDArray[np.intp]) -> sp.csr_matrix:
    return block.read()[rows]


def _changed(block: Block, change: Callable[[sp.csr_matrix], sp.csr_matrix]) -> sp.csr_matrix:
    return change(block.read())


def _write(path: Path, rows: sp.csr_matrix) -> None:
    with path.open("wb") as file:
        for array in (rows.data, rows.indices, rows.indptr):
            np.save(file, array)


def _read(path: Path, shape: tuple[int, int]) -> sp.csr_matrix:
    # Not memory-mapped: the pages of a map count as memory of this process until others need them.
    with path.open("rb") as file:
        return sp.csr_matrix((np.load(file), np.load(file), np.load(file)), shape=shape, copy=False)

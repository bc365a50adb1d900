"""Sparse rows that together do not fit into memory, in blocks that do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Concatenate, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

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
        Where those who need the rows again and again may write them.
    memory : int
        Bytes that working on them may take; those who need more to work at all take it.
    weights : float32 array, shape (n_columns,), optional
        All entries of a column have this value, but for a factor that all of a row share.

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

    def __init__(
        self,
        blocks: Sequence[Block],
        n_columns: int,
        folder: Path,
        memory: int = 0,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        self.blocks = list(blocks)
        self.shape = (sum(block.n_rows for block in blocks), n_columns)
        self.folder = folder
        self.memory = memory
        self.weights = weights

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
        return self._of(chosen)

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

    def within(self, share: float) -> RowBlocks:
        """The same rows with a share of their memory, for one who works on them beside others."""
        return RowBlocks(
            self.blocks, self.shape[1], self.folder, int(share * self.memory), self.weights
        )

    def slices(self) -> list[slice]:
        """The rows of each block."""
        ends = np.cumsum([0, *(block.n_rows for block in self.blocks)]).tolist()
        return [slice(begin, end) for begin, end in pairwise(ends)]

    def map(
        self,
        change: Callable[[sp.csr_matrix], sp.csr_matrix],
        n_columns: int,
        weights: NDArray[np.float32] | None = None,
    ) -> RowBlocks:
        """What `change` makes of each block, whenever it is read; `weights` are those of it."""
        changed = [Block(b.n_rows, partial(_changed, b, change)) for b in self.blocks]
        return RowBlocks(changed, n_columns, self.folder, self.memory, weights)

    def followed_by(self, other: RowBlocks) -> RowBlocks:
        """These rows and those of `other`, which has the same columns."""
        return self._of([*self.blocks, *other.blocks])

    def gathered(self) -> sp.csr_matrix:
        """All rows in memory."""
        blocks = list(self)
        return blocks[0] if len(blocks) == 1 else sp.vstack(blocks, format="csr")

    def _of(self, blocks: Sequence[Block]) -> RowBlocks:
        return RowBlocks(blocks, self.shape[1], self.folder, self.memory, self.weights)


def _rows_of(block: Block, rows: NDArray[np.intp]) -> sp.csr_matrix:
    return block.read()[rows]


def _changed(block: Block, change: Callable[[sp.csr_matrix], sp.csr_matrix]) -> sp.csr_matrix:
    return change(block.read())

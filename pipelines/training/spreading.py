"""Rows that are spread over the workers of a cluster; what is computed on them is computed there.

The parts of the rows lie in the cluster's object store, each on the machine that has made it, and
tasks go to where their part is. What a lost machine had, Ray makes again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Final, NamedTuple, Protocol, TypeVar, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.ray_cluster import ray_cluster, ray_errors
from pipelines.text.row_blocks import Block, RowBlocks
from pipelines.training.stopping import stop_flag

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")
Ref = object
"""A value that lies with the workers, or will do."""

_POLL: Final = 0.1
"""Seconds between two looks for Ctrl-C while the cluster works."""


class Workers(Protocol):
    """Who computes on rows.

    Attributes
    ----------
    count : int
        How many tasks they do at a time.
    """

    count: int

    def put(self, value: object) -> Ref:
        """Give a value to all workers."""

    def call(
        self, work: Callable[..., object] | Ref, *given: object, returns: int = 1
    ) -> list[Ref]:
        """Begin a task; gives what it will return, which can be given to another task.

        Large values among `given` should have been `put`.
        """

    def get(self, ref: Ref) -> object:
        """Wait for a value.

        Raises
        ------
        KeyboardInterrupt
            If the computation that is going on is asked to stop.
        OpinionLensError
            What the task raised; `ClusterError` for what is wrong with the cluster itself.
        """


class RayWorkers:
    """The workers of the Ray cluster that one is connected to."""

    def __init__(self, count: int) -> None:
        import ray

        self.count = count
        # Spread: a task without a part yet goes to the machine that has the least to do.
        self._task = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(_called)
        self._near = ray.remote(num_cpus=1)(_called)

    def put(self, value: object) -> Ref:
        """See `Workers.put`."""
        import ray

        return ray.put(value)

    def call(
        self, work: Callable[..., object] | Ref, *given: object, returns: int = 1
    ) -> list[Ref]:
        """See `Workers.call`."""
        import ray

        near = any(isinstance(value, ray.ObjectRef) for value in given)
        task = self._near if near else self._task
        made = task.options(num_returns=returns).remote(work, *given)
        return [made] if returns == 1 else made

    def get(self, ref: Ref) -> object:
        """See `Workers.get`."""
        import ray

        awaited = cast("ObjectRef[object]", ref)
        with ray_errors():
            while not ray.wait([awaited], timeout=_POLL)[0]:
                if stop_flag()[0]:
                    ray.cancel(awaited, force=True)
                    raise KeyboardInterrupt
            return ray.get(awaited)


@contextmanager
def ray_workers(address: str | None) -> Iterator[RayWorkers]:
    """Connect to a Ray cluster during the block, as `ray_cluster` does."""
    with ray_cluster(address) as cpus:
        yield RayWorkers(max(1, cpus))


class Part(NamedTuple):
    """Some rows, as a csr_matrix that lies with a worker."""

    n_rows: int
    rows: Ref
    given: tuple[Ref, ...] = ()
    """Kept, so that the cluster can make the rows from it again."""


class SpreadRows(RowBlocks):
    """Rows of which each block is a part that lies with a worker.

    What `each`, `map` and a choice of rows ask for is computed by the workers. Iterating fetches
    one part after the other.

    Parameters
    ----------
    parts : sequence of Part
    n_columns : int
    workers : Workers
    """

    def __init__(self, parts: Sequence[Part], n_columns: int, workers: Workers) -> None:
        self.parts = list(parts)
        self.workers = workers
        blocks = [Block(part.n_rows, partial(self._fetched, part)) for part in parts]
        super().__init__(blocks, n_columns, Path(tempfile.gettempdir()))

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.generic]) -> SpreadRows:
        """The rows of a slice or mask, or of ascending numbers, which may occur repeatedly."""
        chosen = []
        for part, numbers in zip(self.parts, self.divided(rows), strict=True):
            if np.array_equal(numbers, np.arange(part.n_rows)):
                chosen.append(part)
            elif numbers.size:
                chosen.append(self._part(numbers.size, getitem, [part], self.workers.put(numbers)))
        return SpreadRows(chosen, self.shape[1], self.workers)

    def each(
        self, work: Callable[Concatenate[sp.csr_matrix, ...], T], *arrays: NDArray[np.generic]
    ) -> Iterator[T]:
        """What `work` makes of each part and its rows of `arrays`, in the order of the parts."""
        wanted = self.workers.put(work)
        given = [[self.workers.put(array[place]) for array in arrays] for place in self.slices()]
        found = [
            self.workers.call(wanted, part.rows, *own)[0]
            for part, own in zip(self.parts, given, strict=True)
        ]
        while found:
            yield cast(T, self.workers.get(found.pop(0)))

    def within(self, share: float) -> SpreadRows:
        """The same: workers share nothing."""
        return self

    def map(
        self,
        change: Callable[[sp.csr_matrix], sp.csr_matrix],
        n_columns: int,
        weights: NDArray[np.float32] | None = None,
    ) -> SpreadRows:
        """What `change` makes of each part, once."""
        wanted = self.workers.put(change)
        changed = [self._part(part.n_rows, _changed, [part], wanted) for part in self.parts]
        return SpreadRows(changed, n_columns, self.workers)

    def followed_by(self, other: RowBlocks) -> SpreadRows:
        """These rows and those of `other`, which lie with the same workers.

        Small parts that stand together become one: parts stay about as many as workers.
        """
        assert isinstance(other, SpreadRows)
        parts = [*self.parts, *other.parts]
        most = max(part.n_rows for part in parts)
        groups: list[list[Part]] = []
        for part in parts:
            if groups and sum(each.n_rows for each in groups[-1]) + part.n_rows <= most:
                groups[-1].append(part)
            else:
                groups.append([part])
        joined = [
            group[0]
            if len(group) == 1
            else self._part(sum(part.n_rows for part in group), _stacked, group)
            for group in groups
        ]
        return SpreadRows(joined, self.shape[1], self.workers)

    def _part(
        self, n_rows: int, work: Callable[..., sp.csr_matrix], of: Sequence[Part], *given: Ref
    ) -> Part:
        [rows] = self.workers.call(work, *(part.rows for part in of), *given)
        kept = [ref for part in of for ref in part.given]
        return Part(n_rows, rows, (*kept, *given))

    def _fetched(self, part: Part) -> sp.csr_matrix:
        return self.workers.get(part.rows)


def spread(
    workers: Workers, make: Callable[[int, int], sp.csr_matrix], n_rows: int, n_columns: int
) -> SpreadRows:
    """Rows in equal parts, one for each worker, which makes its own.

    Parameters
    ----------
    workers : Workers
    make : callable (begin, end) -> csr_matrix of some of the rows
        Small: it goes with every task.
    n_rows, n_columns : int
    """
    bounds = np.linspace(0, n_rows, max(1, min(workers.count, n_rows)) + 1).astype(int).tolist()
    parts = [
        Part(end - begin, workers.call(make, begin, end)[0]) for begin, end in pairwise(bounds)
    ]
    return SpreadRows(parts, n_columns, workers)


def _called(work: Callable[..., object], *given: object) -> object:
    """What a task does."""
    return work(*given)


def _changed(
    rows: sp.csr_matrix, change: Callable[[sp.csr_matrix], sp.csr_matrix]
) -> sp.csr_matrix:
    return change(rows)


def _stacked(*rows: sp.csr_matrix) -> sp.csr_matrix:
    return sp.vstack(rows, format="csr")

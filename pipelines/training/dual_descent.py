"""Dual coordinate descent: the compiled solver of the linear classifiers."""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipelines.text.row_blocks import RowBlocks
from pipelines.training.spreading import Ref, SpreadRows
from pipelines.training.stopping import Flag, stop_flag

_AT_ONCE: Final = 4
"""Blocks that are in memory together, others each time: rows that always stand in the same company
take many times as long (reviews of films: 15 readings to a tolerance that 40 do not reach)."""
_PASSES: Final = 4
"""Passes over blocks each time they are read."""
_ROUND_PASSES: Final = 8
"""Passes of each worker over its rows in a round."""
_NEWTON_STEPS: Final = 100
_NEWTON_TOL: Final = 0.1
"""Share of the tolerance that is left of a gradient."""


def dual_coordinate_descent(
    X: csr_matrix | RowBlocks,
    rows: NDArray[np.intp],
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    tol: float,
    max_iter: int,
    seed: int,
    stop: Flag | None = None,
    start: NDArray[np.float64] | None = None,
    logistic: bool = False,
) -> tuple[NDArray[np.float32], float, int]:
    """Minimise ``(|w|^2 + b^2) / 2 + sum(costs * max(0, 1 - signs * margin) ** 2)``.

    With `logistic`, the loss is ``log(1 + exp(-signs * margin))``, and the method that of Yu, Huang
    and Lin (2011), "Dual Coordinate Descent Methods for Logistic Regression and Maximum Entropy
    Models", algorithm 5.

    The margin of a row is ``start + w . x + b``. The method is that of Hsieh et al. (2008), "A Dual
    Coordinate Descent Method for Large-scale Linear SVM", algorithm 3, with shrinking. Rows that
    come in blocks are taken a few blocks at a time, some passes over each, until no row of any
    block violates optimality: Yu, Hsieh, Chang and Lin (2012), "Large Linear Classification When
    Data Cannot Fit in Memory". Rows that are spread over workers are solved by each for its own,
    round by round, and what they find is added up: CoCoA+, Ma et al. (2015), "Adding vs. Averaging
    in Distributed Primal-Dual Optimization". The optimum is the same.

    Parameters
    ----------
    X : csr_matrix of float32 or RowBlocks, shape (n, n_features)
    rows : int array, shape (m,)
        Which rows of `X` to fit on.
    signs, costs : float64 arrays, shape (m,)
        -1 or 1, and the weight of the loss, of each of `rows`.
    tol : float
        Stop when the largest violation of optimality is below it.
    max_iter : int
        Passes over the rows at the most; how often each block is read; rounds for each worker.
    seed : int
        Decides on the order in which rows are visited.
    stop : uint8 array, shape (1,), optional
        Looked at before each pass; by default `pipelines.training.stopping.stop_flag`.
    start : float64 array, shape (m,), optional
        Margins that the rows have already, by another model; 0 by default.
    logistic : bool

    Returns
    -------
    coef : float32 array, shape (n_features,)
    intercept : float
    passes : int

    Raises
    ------
    KeyboardInterrupt
        If `stop` is set meanwhile.
    """
    stop = stop_flag() if stop is None else stop
    start = np.zeros(rows.size) if start is None else start
    w, alpha = np.zeros(X.shape[1], dtype=np.float32), np.zeros(rows.size)
    if isinstance(X, SpreadRows):
        given = (signs, costs, start)
        return _descend_on_workers(X[rows], given, tol, max_iter, seed, logistic)
    descend = _descend_logistic if logistic else _descend
    if isinstance(X, RowBlocks):
        state = (signs, costs, start, w, alpha)
        return w, *_descend_in_blocks(descend, X[rows], *state, tol, max_iter, seed, stop)
    columns = (X.indptr, X.indices, X.data, rows.astype(np.int64))
    b, passes, _, _ = descend(
        *columns, signs, costs, start, w, 0.0, alpha, tol, max_iter, seed, stop
    )
    if stop[0]:
        raise KeyboardInterrupt
    return w, b, passes


def _descend_in_blocks(
    descend: Callable[..., tuple[float, int, float, float]],
    X: RowBlocks,
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    start: NDArray[np.float64],
    w: NDArray[np.float32],
    alpha: NDArray[np.float64],
    tol: float,
    max_iter: int,
    seed: int,
    stop: Flag,
) -> tuple[float, int]:
    """Bring `w` and `alpha` to the optimum; returns the intercept, and how often rows were read."""
    random = np.random.RandomState(seed)
    b, passes = 0.0, 0
    with X.spooled() as spooled:
        places = [np.arange(place.start, place.stop) for place in X.slices()]
        while passes < max_iter:
            passes += 1
            highest, lowest = -np.inf, np.inf
            order = random.permutation(len(places))
            for chosen in np.split(order, range(_AT_ONCE, order.size, _AT_ONCE)):
                rows = spooled.chosen(chosen.tolist()).gathered()
                place = np.concatenate([places[number] for number in chosen])
                columns = (rows.indptr, rows.indices, rows.data, np.arange(place.size))
                own = alpha[place]
                state = (signs[place], costs[place], start[place], w, b, own)
                seed = random.randint(2**31 - 1)
                b, _, high, low = descend(*columns, *state, tol, _PASSES, seed, stop)
                alpha[place] = own
                if stop[0]:
                    raise KeyboardInterrupt
                highest, lowest = max(highest, high), min(lowest, low)
            if highest - lowest < tol:
                break
    return b, passes


class _Found(NamedTuple):
    """What a worker has found in a round."""

    coef: NDArray[np.float32]
    """Of the change of w, shape (n_features,)."""
    intercept: float
    passes: int
    highest: float
    lowest: float


def _descend_on_workers(
    X: SpreadRows,
    given: Sequence[NDArray[np.float64]],
    tol: float,
    max_iter: int,
    seed: int,
    logistic: bool,
) -> tuple[NDArray[np.float32], float, int]:
    """CoCoA+ with the safe choice for adding up: gamma = 1, sigma' = the number of parts.

    `given` are signs, costs and margins to start from. A single part is solved as on one machine.
    """
    workers, n_parts = X.workers, len(X.parts)
    random = np.random.RandomState(seed)
    own = [[workers.put(array[place]) for array in given] for place in X.slices()]
    alphas = [workers.put(np.zeros(part.n_rows)) for part in X.parts]
    w, b, rounds = np.zeros(X.shape[1]), 0.0, 0
    passes = _ROUND_PASSES if n_parts > 1 else max_iter
    # Kept, as all of `own`: from these a cluster repeats what a lost machine had done.
    sent: list[Ref] = []
    while rounds < max_iter * n_parts:
        rounds += 1
        sent.append(workers.put((w.astype(np.float32), b)))
        seeds = random.randint(2**31 - 1, size=n_parts).tolist() if n_parts > 1 else [seed]
        solve = partial(_round, n_parts=n_parts, tol=tol, passes=passes, logistic=logistic)
        called = [
            workers.call(solve, part.rows, *arrays, alpha, sent[-1], seed, returns=2)
            for part, arrays, alpha, seed in zip(X.parts, own, alphas, seeds, strict=True)
        ]
        alphas = [alpha for alpha, _ in called]
        highest, lowest = -np.inf, np.inf
        for _, ref in called:
            found = cast(_Found, workers.get(ref))
            w += found.coef
            b += found.intercept
            highest, lowest = max(highest, found.highest), min(lowest, found.lowest)
        if n_parts == 1:
            return w.astype(np.float32), b, found.passes
        if highest - lowest < tol:
            break
    return w.astype(np.float32), b, rounds


def _round(
    X: csr_matrix,
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    start: NDArray[np.float64],
    alpha: NDArray[np.float64],
    shared: tuple[NDArray[np.float32], float],
    seed: int,
    *,
    n_parts: int,
    tol: float,
    passes: int,
    logistic: bool,
) -> tuple[NDArray[np.float64], _Found]:
    """What a worker does in a round: the new dual variables of its rows, and what to add to w.

    Its subproblem holds what the other parts do for as large as what it does itself: its steps
    count `n_parts` times in its own copy of w (Ma et al. 2015, equation 7).
    """
    w, b = shared
    own, alpha = w.copy(), alpha.copy()
    descend = _descend_logistic if logistic else _descend
    columns = (X.indptr, X.indices, X.data, np.arange(alpha.size))
    limits = (tol, passes, seed, stop_flag(), float(n_parts))
    own_b, done, highest, lowest = descend(*columns, signs, costs, start, own, b, alpha, *limits)
    change = (own - w) / np.float32(n_parts)
    return alpha, _Found(change, (own_b - b) / n_parts, done, highest, lowest)


@njit(cache=True, nogil=True)
def _descend(
    offsets: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    start: NDArray[np.float64],
    w: NDArray[np.float32],
    b: float,
    alpha: NDArray[np.float64],
    tol: float,
    max_iter: int,
    seed: int,
    stop: Flag,
    scale: float = 1.0,
) -> tuple[float, int, float, float]:
    """The loop of `dual_coordinate_descent`; names follow Hsieh et al. (2008), algorithm 3.

    It goes on from `w`, `b` and `alpha`, and changes `w` and `alpha`. Steps count `scale` times in
    `w` and `b`. Returns b, the number of passes, and the highest and the lowest projected gradient
    of the first pass.
    """
    n = rows.size
    diagonal = 0.5 / costs
    curvature = np.empty(n)
    for i in range(n):
        square = 1.0
        for entry in range(offsets[rows[i]], offsets[rows[i] + 1]):
            square += np.float64(values[entry]) * np.float64(values[entry])
        curvature[i] = scale * square + diagonal[i]
    order = np.arange(n)
    active = n
    np.random.seed(seed)
    highest_before = np.inf
    passes = 0
    first_highest = first_lowest = 0.0
    while passes < max_iter and not stop[0]:
        passes += 1
        for k in range(active - 1, 0, -1):
            other = np.random.randint(0, k + 1)
            order[k], order[other] = order[other], order[k]
        highest = -np.inf
        lowest = np.inf
        k = 0
        while k < active:
            i = order[k]
            begin = offsets[rows[i]]
            end = offsets[rows[i] + 1]
            margin = start[i] + b + _product(columns, values, begin, end, w)
            gradient = signs[i] * margin - 1 + diagonal[i] * alpha[i]
            projected = gradient
            if alpha[i] == 0:
                if gradient > highest_before:
                    active -= 1
                    order[k], order[active] = order[active], order[k]
                    continue
                projected = min(gradient, 0.0)
            highest = max(highest, projected)
            lowest = min(lowest, projected)
            if abs(projected) > 1e-12:
                updated = max(alpha[i] - gradient / curvature[i], 0.0)
                step = (updated - alpha[i]) * signs[i]
                alpha[i] = updated
                b += scale * step
                step32 = np.float32(scale * step)
                for entry in range(begin, end):
                    w[columns[entry]] += step32 * values[entry]
            k += 1
        if passes == 1:
            first_highest, first_lowest = highest, lowest
        if highest - lowest < tol:
            if active == n:
                break
            # Converged on the active rows: check all rows once more before stopping.
            active = n
            highest_before = np.inf
        else:
            highest_before = highest if highest > 0 else np.inf
    return b, passes, first_highest, first_lowest


@njit(cache=True, nogil=True)
def _descend_logistic(
    offsets: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    start: NDArray[np.float64],
    w: NDArray[np.float32],
    b: float,
    alpha: NDArray[np.float64],
    tol: float,
    max_iter: int,
    seed: int,
    stop: Flag,
    scale: float = 1.0,
) -> tuple[float, int, float, float]:
    """The same with logistic loss; the lowest that it returns is 0."""
    order = np.arange(rows.size)
    np.random.seed(seed)
    first_highest = 0.0
    passes = 0
    while passes < max_iter and not stop[0]:
        passes += 1
        np.random.shuffle(order)
        highest = 0.0
        for i in order:
            begin = offsets[rows[i]]
            end = offsets[rows[i] + 1]
            square = 1.0
            for entry in range(begin, end):
                square += np.float64(values[entry]) * np.float64(values[entry])
            square *= scale
            margin = signs[i] * (start[i] + b + _product(columns, values, begin, end, w))
            # The minimum lies in one half of the interval from 0 to the cost. Of alpha and what is
            # left of the cost, the one in the lower half is what Newton's method changes.
            cost = costs[i]
            upper = 0.5 * square * (cost - 2 * alpha[i]) + margin < 0
            side = -1.0 if upper else 1.0
            before = cost - alpha[i] if upper else alpha[i]
            z = max(before, min(1e-3 * cost, 1e-8))
            if z > 0.5 * cost:
                z *= 0.1
            gradient = square * (z - before) + side * margin + np.log(z / (cost - z))
            highest = max(highest, abs(gradient))
            for _ in range(_NEWTON_STEPS):
                if abs(gradient) < _NEWTON_TOL * tol:
                    break
                moved = z - gradient / (square + cost / (cost - z) / z)
                z = moved if moved > 0 else 0.1 * z
                gradient = square * (z - before) + side * margin + np.log(z / (cost - z))
            step = (z - before) * side * signs[i]
            alpha[i] = cost - z if upper else z
            b += scale * step
            step32 = np.float32(scale * step)
            for entry in range(begin, end):
                w[columns[entry]] += step32 * values[entry]
        if passes == 1:
            first_highest = highest
        if highest < tol:
            break
    return b, passes, first_highest, 0.0


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _product(
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    begin: int,
    end: int,
    w: NDArray[np.float32],
) -> np.float32:
    """Entries `begin` to `end` times their weights, several at a time, added up in any order."""
    total = np.float32(0)
    for entry in range(begin, end):
        total += values[entry] * w[columns[entry]]
    return total

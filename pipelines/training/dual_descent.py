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
from pipelines.training.spooling import Entries, spooled
from pipelines.training.spreading import Ref, SpreadRows
from pipelines.training.stopping import Flag, stop_flag

_PASSES: Final = 4
"""Passes over rows that are not all in memory, each time they are read."""
_QUIET: Final = 0.01
"""A row whose gradient is below this share of the largest ones rests,"""
_REST: Final = 3
"""for this number of passes at the most. 20,000 reviews are visited 30 times each instead of 54 for
the same objective; more rest makes it worse."""
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
    need small steps are visited less often, as in Glasmachers and Dogan (2013), "Accelerated
    Coordinate Descent with Adaptive Coordinate Frequencies".

    Rows that come in blocks are held in memory if it is enough for all. Else as many blocks as it
    holds are taken at a time, some passes over each, until no row of any block violates optimality:
    Yu, Hsieh, Chang and Lin (2012), "Large Linear Classification When Data Cannot Fit in Memory".
    Rows that shrinking leaves out or that are at rest are not read again before the others are
    solved, as in Chang and Roth (2011), "Selective Block Minimization for Faster Convergence of
    Limited Memory Large-scale Linear Models". Rows that are spread over workers are solved by each
    for its own, round by round, and what they find is added up: CoCoA+, Ma et al. (2015), "Adding
    vs. Averaging in Distributed Primal-Dual Optimization". The optimum is the same.

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
        given = (signs, costs, start)
        return w, *_descend_in_blocks(descend, X[rows], *given, w, alpha, tol, max_iter, seed, stop)
    entries, order = Entries.of(X, rows), np.arange(rows.size)
    norms = np.empty(rows.size)
    _find_norms(entries, order, norms)
    state = (signs, costs, start, norms, w, 0.0, alpha)
    b, passes, _, _, _ = descend(entries, order, *state, tol, max_iter, seed, stop)
    if stop[0]:
        raise KeyboardInterrupt
    return w, b, passes


def _descend_in_blocks(
    descend: Callable[..., tuple[float, int, float, float, int]],
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
    """Bring `w` and `alpha` to the optimum; returns the intercept, and how often rows were read.

    If all rows fit into memory, how many passes there were.
    """
    random = np.random.RandomState(seed)
    norms = np.empty(signs.size)
    wanted = np.ones(signs.size, dtype=np.bool_)
    b, readings = 0.0, 0
    with spooled(X) as spool:
        while readings < max_iter:
            readings += 1
            all_wanted, next_wanted = wanted.all(), wanted.copy()
            highest, lowest = -np.inf, np.inf
            groups = spool.groups(wanted, random.permutation(len(X.blocks)).tolist())
            for group in groups:
                entries, order = spool.read(group, wanted)
                if readings == 1:
                    _find_norms(entries, order, norms)
                state = (signs, costs, start, norms, w, b, alpha)
                most = max_iter if len(groups) == 1 else _PASSES
                limits = (tol, most, random.randint(2**31 - 1), stop)
                b, passes, high, low, active = descend(entries, order, *state, *limits)
                if stop[0]:
                    raise KeyboardInterrupt
                highest, lowest = max(highest, high), min(lowest, low)
                next_wanted[order[active:]] = False
            solved = highest - lowest < tol or len(groups) == 1
            if all_wanted and solved:
                break
            # Before it is the optimum, all are looked at.
            wanted = np.ones_like(wanted) if solved or not next_wanted.any() else next_wanted
    if X.weights is not None:
        # It was solved for coefficients times weights.
        np.divide(w, X.weights, out=w, where=X.weights != 0)
    return b, passes if len(groups) == 1 else readings


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
    entries, order = Entries.of(X), np.arange(alpha.size)
    norms = np.empty(alpha.size)
    _find_norms(entries, order, norms)
    state = (signs, costs, start, norms, own, b, alpha)
    limits = (tol, passes, seed, stop_flag(), float(n_parts))
    own_b, done, highest, lowest, _ = descend(entries, order, *state, *limits)
    change = (own - w) / np.float32(n_parts)
    return alpha, _Found(change, (own_b - b) / n_parts, done, highest, lowest)


@njit(cache=True, nogil=True)
def _descend(
    rows: Entries,
    order: NDArray[np.int64],
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    start: NDArray[np.float64],
    norms: NDArray[np.float64],
    w: NDArray[np.float32],
    b: float,
    alpha: NDArray[np.float64],
    tol: float,
    max_iter: int,
    seed: int,
    stop: Flag,
    scale: float = 1.0,
) -> tuple[float, int, float, float, int]:
    """The loop of `dual_coordinate_descent`; names follow Hsieh et al. (2008), algorithm 3.

    It goes on from `w`, `b` and `alpha` with the rows of `order`, and changes all of them but `b`.
    Steps count `scale` times in `w` and `b`. A row whose projected gradient is near 0 rests in
    the next pass, and in more if it is so again. Returns b, the number of passes, the highest and
    the lowest projected gradient of the first pass, and how many rows are neither left out by
    shrinking nor at rest: they come first in `order`.
    """
    active = order.size
    rest = np.zeros(signs.size, dtype=np.uint8)
    left = np.zeros(signs.size, dtype=np.uint8)
    quiet = 0.0
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
        resting = 0
        k = 0
        while k < active:
            i = order[k]
            if left[i] > 0:
                left[i] -= 1
                resting += 1
                k += 1
                continue
            diagonal = 0.5 / costs[i]
            margin = start[i] + b + _product(rows, i, w)
            gradient = signs[i] * margin - 1 + diagonal * alpha[i]
            projected = gradient
            if alpha[i] == 0:
                if gradient > highest_before:
                    active -= 1
                    order[k], order[active] = order[active], order[k]
                    continue
                projected = min(gradient, 0.0)
            highest = max(highest, projected)
            lowest = min(lowest, projected)
            rest[i] = min(2 * rest[i] + 1, _REST) if abs(projected) < quiet else 0
            left[i] = rest[i]
            if abs(projected) > 1e-12:
                updated = max(alpha[i] - gradient / (scale * norms[i] + diagonal), 0.0)
                step = scale * (updated - alpha[i]) * signs[i]
                alpha[i] = updated
                b += step
                _add(rows, i, step, w)
            k += 1
        if passes == 1:
            first_highest, first_lowest = highest, lowest
        if highest - lowest < tol:
            if active == order.size and resting == 0:
                break
            # Converged on these rows: check all rows once more before stopping.
            active = order.size
            highest_before = np.inf
            left[:] = 0
        else:
            highest_before = highest if highest > 0 else np.inf
        quiet = _QUIET * max(highest - lowest, tol)
    k = 0
    while k < active:
        if rest[order[k]] > 0:
            active -= 1
            order[k], order[active] = order[active], order[k]
        else:
            k += 1
    return b, passes, first_highest, first_lowest, active


@njit(cache=True, nogil=True)
def _descend_logistic(
    rows: Entries,
    order: NDArray[np.int64],
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    start: NDArray[np.float64],
    norms: NDArray[np.float64],
    w: NDArray[np.float32],
    b: float,
    alpha: NDArray[np.float64],
    tol: float,
    max_iter: int,
    seed: int,
    stop: Flag,
    scale: float = 1.0,
) -> tuple[float, int, float, float, int]:
    """The same with logistic loss; the lowest that it returns is 0, and no row is left out."""
    np.random.seed(seed)
    first_highest = 0.0
    passes = 0
    while passes < max_iter and not stop[0]:
        passes += 1
        np.random.shuffle(order)
        highest = 0.0
        for i in order:
            square = scale * norms[i]
            margin = signs[i] * (start[i] + b + _product(rows, i, w))
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
            step = scale * (z - before) * side * signs[i]
            alpha[i] = cost - z if upper else z
            b += step
            _add(rows, i, step, w)
        if passes == 1:
            first_highest = highest
        if highest < tol:
            break
    return b, passes, first_highest, 0.0, order.size


@njit(cache=True, nogil=True)
def _find_norms(rows: Entries, order: NDArray[np.int64], norms: NDArray[np.float64]) -> None:
    """The squared length of each row of `order`, with the 1 that the intercept is for."""
    for i in order:
        entries = rows.begins[i], rows.ends[i], rows.columns, rows.values
        factor = np.float64(_factor(rows.values, rows.scales, i))
        norms[i] = 1.0 + factor * factor * _sum_of_squares(*entries, rows.squares)


@njit(cache=True, nogil=True)
def _product(rows: Entries, i: int, w: NDArray[np.float32]) -> np.float32:
    """Row i times the coefficients."""
    entries = rows.begins[i], rows.ends[i], rows.columns, rows.values
    return _factor(rows.values, rows.scales, i) * _dot(*entries, w)


@njit(cache=True, nogil=True)
def _add(rows: Entries, i: int, step: float, w: NDArray[np.float32]) -> None:
    """Add row i to the coefficients, `step` times."""
    entries = rows.begins[i], rows.ends[i], rows.columns, rows.values
    _axpy(*entries, rows.squares, np.float32(step) * _factor(rows.values, rows.scales, i), w)


# If `values` is None, Numba compiles that branch alone.
@njit(cache=True, nogil=True)
def _factor(values: NDArray[np.float32] | None, scales: NDArray[np.float32], i: int) -> np.float32:
    if values is None:
        return scales[i]
    return np.float32(1)


@njit(cache=True, nogil=True)
def _sum_of_squares(
    begin: int,
    end: int,
    columns: NDArray[np.int32],
    values: NDArray[np.float32] | None,
    squares: NDArray[np.float32],
) -> float:
    total = 0.0
    if values is None:
        for entry in range(begin, end):
            total += np.float64(squares[columns[entry]])
    else:
        for entry in range(begin, end):
            total += np.float64(values[entry]) * np.float64(values[entry])
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(
    begin: int,
    end: int,
    columns: NDArray[np.int32],
    values: NDArray[np.float32] | None,
    w: NDArray[np.float32],
) -> np.float32:
    """Several entries at a time, added up in any order."""
    total = np.float32(0)
    if values is None:
        for entry in range(begin, end):
            total += w[columns[entry]]
    else:
        for entry in range(begin, end):
            total += values[entry] * w[columns[entry]]
    return total


@njit(cache=True, nogil=True)
def _axpy(
    begin: int,
    end: int,
    columns: NDArray[np.int32],
    values: NDArray[np.float32] | None,
    squares: NDArray[np.float32],
    step: np.float32,
    w: NDArray[np.float32],
) -> None:
    if values is None:
        for entry in range(begin, end):
            w[columns[entry]] += step * squares[columns[entry]]
    else:
        for entry in range(begin, end):
            w[columns[entry]] += step * values[entry]

"""A model that starts from another one: the old weights plus what a few labelled texts teach.

The margin of a text is ``scale * (margin of the start) + d . x + bias``; of more than two classes,
each has a margin of its own, which tells it from the others. Only `d` and the bias are
penalised, so without evidence the model stays what it was (a Gaussian prior around the old
weights; Chelba and Acero 2006, "Adaptation of Maximum Entropy Capitalizer"). `scale` and the
weight of the loss are chosen by cross-validation on the rows at hand, where they compete with the
start itself and with a model from scratch. Both old and new part are linear in the n-grams of the
text, so their sum is one table again.

Not for texts of another language or tokens of another version: the start then knows none of their
words, and a model from scratch is as good.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit, log_softmax, softmax
from threadpoolctl import threadpool_limits

from pipelines.errors import TrainingError
from pipelines.text.vectorizer import log_count_ratio
from pipelines.training.dual_descent import dual_coordinate_descent
from pipelines.training.subjects import nbsvm

Kind = Literal["start", "scratch", "adapted"]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows to fit on, and rows that are held out."""

LOG_ODDS: Final = 3.0
"""The log odds of a margin of 1, as sigmoids fitted to support vector machines usually have it."""

LEAST_ROWS: Final = 10
LEAST_ROWS_OF_A_CLASS: Final = 3

_FEWEST_ROWS_TO_CHOOSE_ON: Final = 200
_MOST_ROWS_TO_CHOOSE_ON: Final = 4_000
_MOST_TERMS_TO_CHOOSE_ON: Final = 400_000
"""Rows and terms that cross-validation looks at; it is to take less than a second."""
_HELD_OUT: Final = 1 / 5
"""Share of more rows than that which is held out, once, while plans are fitted on all others: what
is best after a few rows is not best after many."""
_TOLERANCE: Final = 0.02
_COARSE_TOLERANCE: Final = 0.1
"""In cross-validation, where the difference is not seen."""
_PASSES: Final = 200
_PRIOR_ROWS: Final = 20
"""How many rows the start's own calibration is worth against that of the rows at hand."""
_NEWTON_STEPS: Final = 50
_FEWEST_ROWS_FOR_RATIOS: Final = 200
"""Of more than two classes, fewer say too little of n-grams, and cross-validation does not see
it."""


class Plan(msgspec.Struct, frozen=True):
    """One way to fit.

    Attributes
    ----------
    scale : float
        What the start's margin is multiplied with; 0 is a model from scratch.
    C : float
        Weight of the squared hinge loss against the penalty; 0 learns nothing.
    ratios : bool
        Whether n-grams are weighed by their log-count ratio in the labelled texts, as the subject
        nbsvm does it (Wang and Manning 2012).
    """

    scale: float
    C: float
    ratios: bool = False

    @property
    def kind(self) -> Kind:
        """What comes out of it."""
        if not self.C:
            return "start"
        return "adapted" if self.scale else "scratch"


def scratch_plans(n_classes: int, n: float = np.inf) -> tuple[Plan, ...]:
    """Plans of models from scratch on `n` rows.

    With ratios, it is the subject nbsvm with its defaults.
    """
    with_ratios = Plan(0.0, _nbsvm(n_classes)["C"], ratios=True)
    enough = n_classes == 2 or n >= _FEWEST_ROWS_FOR_RATIOS
    return (Plan(0.0, 30.0), with_ratios) if enough else (Plan(0.0, 30.0),)


def all_plans(n_classes: int, n: float = np.inf) -> tuple[Plan, ...]:
    """The plans that compete on `n` rows."""
    with_ratios = 3.0 if n_classes == 2 else 0.3
    return (
        *(Plan(1.0, C) for C in (0.03, 0.1, 0.3, 1.0)),
        Plan(2.0, 0.3),
        Plan(0.5, 1.0),
        *(Plan(scale, with_ratios, ratios=True) for scale in (0.5, 1.0, 2.0)),
        Plan(1.0, 0.0),
        *scratch_plans(n_classes, n),
    )


def _nbsvm(n_classes: int) -> dict[str, float]:
    """The defaults of the subject nbsvm that are numbers, for so many classes."""
    defaults = nbsvm().for_classes(n_classes).defaults
    return {name: value for name, value in defaults.items() if isinstance(value, int | float)}


def usual(n: int) -> Plan:
    """The plan that is best or nearly so after `n` rows, on the sources on which it was chosen."""
    return Plan(1.0, 0.03 if n < 100 else 0.1 if n < 500 else 0.3)


class Rows(msgspec.Struct, frozen=True):
    """Labelled texts as a solver sees them.

    Attributes
    ----------
    features : csr_matrix of float32, shape (n, m)
        The terms of each text divided by their length.
    start : float64 array, shape (n,) or (n, n_classes)
        Margins by the model to start from, 0 where its probability is one half and of the size of
        a support vector machine's: its log odds divided by `LOG_ODDS`. Of more than two classes,
        their logits, less the mean of those of a text, divided by it.
    labels : array, shape (n,)
        Numbers of classes; of two, False and True will do.
    possible : bool array, shape (n, n_classes), or None
        Of more than two classes, those that a row could have had; None: all. A row says nothing
        about the others.
    """

    features: csr_matrix
    start: NDArray[np.float64]
    labels: NDArray[np.generic]
    possible: NDArray[np.bool_] | None = None

    def __getitem__(self, rows: NDArray[np.intp]) -> Rows:
        possible = _of_rows(self.possible, rows)
        return Rows(self.features[rows], self.start[rows], self.labels[rows], possible)

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return 2 if self.start.ndim == 1 else self.start.shape[1]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """How many rows each class has, shape (n_classes,)."""
        return np.bincount(self.labels, minlength=self.n_classes)

    def compact(self) -> Rows:
        """The same without the columns that are empty."""
        column_of = np.zeros(self.features.shape[1], dtype=np.int32)
        column_of[self.features.indices] = 1
        width = int(column_of.sum())
        column_of = np.cumsum(column_of, dtype=np.int32) - 1
        parts = (self.features.data, column_of[self.features.indices], self.features.indptr)
        features = csr_matrix(parts, shape=(self.labels.size, width))
        return Rows(features, self.start, self.labels, self.possible)

    def start_probabilities(self) -> NDArray[np.float64]:
        """Probabilities, as in `pipelines.labels`, by the start alone."""
        return _probabilities(LOG_ODDS * self.start)


class Adaptation(msgspec.Struct, frozen=True):
    """What was learnt.

    Attributes
    ----------
    plan : Plan
        The one that was chosen.
    difference : float32 array, shape (m,) or (m, n_classes)
        Weights that are added to those of the start, times `plan.scale`.
    bias : float or float64 array, shape (n_classes,)
        Added to the margin.
    slope : float
    offset : float or float64 array, shape (n_classes,)
        From margins to logits.
    losses : dict of float
        Cross-validated log loss by kind of model, the best plan of each.
    """

    plan: Plan
    difference: NDArray[np.float32]
    bias: float | NDArray[np.float64]
    slope: float
    offset: float | NDArray[np.float64]
    losses: dict[Kind, float]

    def probabilities(self, rows: Rows) -> NDArray[np.float64]:
        """Probabilities, as in `pipelines.labels`, for rows with the features learnt on."""
        margins = self.plan.scale * rows.start + rows.features @ self.difference + self.bias
        return _probabilities(self.slope * margins + self.offset)


def adapt(rows: Rows, seed: int, plans: Sequence[Plan] | None = None) -> Adaptation:
    """Choose a plan by cross-validation, fit it on all rows and calibrate it.

    Parameters
    ----------
    rows : Rows
    seed : int
        Which rows are in which fold, and the order in which the solver visits rows.
    plans : sequence of Plan, optional
        If the `usual` one is among them, it is taken unless another is clearly better; else the
        first one. By default `all_plans`.

    Raises
    ------
    TrainingError
        If there are too few rows, or too few of one class.
    """
    _check(rows)
    n = rows.labels.size
    chosen = _sample(rows, seed)
    labels = rows.labels[chosen]
    possible = _of_rows(rows.possible, chosen)
    folds = list(_folds(labels, rows.n_classes, seed))
    plans = all_plans(rows.n_classes, n) if plans is None else plans
    distinct = list(dict.fromkeys(plans))
    if n > _MOST_ROWS_TO_CHOOSE_ON:
        splits = [(np.setdiff1d(np.arange(n), chosen), chosen)]
        margins = {p: m[chosen] for p, m in _held_out(rows, distinct, splits, seed).items()}
    else:
        margins = _held_out(rows[chosen].compact(), distinct, folds, seed)
    # On so few parameters, L-BFGS takes ten times as long if each of its steps waits for threads.
    with threadpool_limits(1, "blas"):
        losses = {
            plan: _held_out_losses(found, labels, folds, possible)
            for plan, found in margins.items()
        }
    first = usual(n)
    best = _clearly_best(first if first in losses else plans[0], losses)
    difference, bias = _fit(rows, best, seed)
    final_slope, final_offset = calibrate(margins[best], labels, possible)
    by_kind: dict[Kind, float] = {}
    for plan in plans:
        loss = float(losses[plan].mean())
        by_kind[plan.kind] = min(loss, by_kind.get(plan.kind, np.inf))
    return Adaptation(best, difference, bias, final_slope, final_offset, by_kind)


def calibrate(
    margins: NDArray[np.float64],
    labels: NDArray[np.generic],
    possible: NDArray[np.bool_] | None = None,
) -> tuple[float, float | NDArray[np.float64]]:
    """Slope and offset from held-out margins to logits, with a prior.

    Of two classes by a sigmoid (Platt 1999), of more by temperature scaling with an offset for each
    class (Guo et al. 2017, "On Calibration of Modern Neural Networks"), each row among its
    `possible` ones.

    A few rows make a calibration surer than it should be. So the logarithm of the slope and the
    offsets have a prior around the start's own calibration (`LOG_ODDS`, 0), which counts as much as
    `_PRIOR_ROWS` rows.
    """
    if margins.ndim == 1:
        return _sigmoid(margins, labels == 1)
    return _softmax(margins, labels, possible)


def _softmax(
    margins: NDArray[np.float64],
    labels: NDArray[np.generic],
    possible: NDArray[np.bool_] | None,
) -> tuple[float, NDArray[np.float64]]:
    usual = np.log(LOG_ODDS)
    prior = _PRIOR_ROWS / 4
    own = np.arange(margins.shape[1]) == labels[:, np.newaxis]
    allowed = _allowed(possible)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_slope, offset = parameters[0], parameters[1:]
        scaled = np.exp(log_slope) * margins
        logarithms = log_softmax(scaled + offset + allowed, axis=1)
        error = np.exp(logarithms) - own
        value = -logarithms[own].sum() + prior / 2 * ((log_slope - usual) ** 2 + offset @ offset)
        slope = (error * scaled).sum() + prior * (log_slope - usual)
        return float(value), np.array([slope, *(error.sum(axis=0) + prior * offset)])

    bounds = [(usual - 6, usual + 6), *[(-20.0, 20.0)] * margins.shape[1]]
    first = np.array([usual, *np.zeros(margins.shape[1])])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(found[0])), found[1:]


def _of_rows(
    possible: NDArray[np.bool_] | None, rows: NDArray[np.intp]
) -> NDArray[np.bool_] | None:
    return None if possible is None else possible[rows]


def _allowed(possible: NDArray[np.bool_] | None) -> NDArray[np.float64] | float:
    """What is added to logits so that impossible classes have the probability 0."""
    return 0.0 if possible is None else np.where(possible, 0.0, -np.inf)


def _sigmoid(margins: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    usual = np.log(LOG_ODDS)
    log_slope, offset = usual, 0.0
    for _ in range(_NEWTON_STEPS):
        scaled = np.exp(log_slope) * margins
        probability = expit(scaled + offset)
        error = probability - positive
        spread = probability * (1 - probability)
        prior = _PRIOR_ROWS / 4  # a row adds a quarter to the curvature at the most
        gradient = np.array(
            [error @ scaled + prior * (log_slope - usual), error.sum() + prior * offset]
        )
        curvature = np.array(
            [
                [spread @ scaled**2 + prior, spread @ scaled],
                [spread @ scaled, spread.sum() + prior],
            ]
        )
        step = np.linalg.solve(curvature, gradient)
        log_slope -= np.clip(step[0], -1, 1)
        offset -= np.clip(step[1], -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return float(np.exp(log_slope)), float(offset)


def disagreement(rows: Rows, one: int = 0, other: int = 1) -> float:
    """Share of the rows of two classes that are more like the other one to the start.

    Both classes are equally heavy. A start that knows nothing of them comes to one half.
    """
    ahead = rows.start if rows.start.ndim == 1 else rows.start[:, other] - rows.start[:, one]
    wrong = (ahead[rows.labels == one] > 0), (ahead[rows.labels == other] <= 0)
    return float(np.mean([each.mean() for each in wrong]))


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    found = expit(logits) if logits.ndim == 1 else softmax(logits, axis=1)
    return np.asarray(found, dtype=np.float64)


def _check(rows: Rows) -> None:
    fewest = int(rows.sizes.min())
    if rows.labels.size < LEAST_ROWS or fewest < LEAST_ROWS_OF_A_CLASS:
        raise TrainingError(
            f"{rows.labels.size:,} labelled texts, {fewest:,} of them of the rarest class, are "
            f"too few to learn from: give {LEAST_ROWS} or more, {LEAST_ROWS_OF_A_CLASS} of each "
            "class."
        )


def _sample(rows: Rows, seed: int) -> NDArray[np.intp]:
    """The rows to choose a plan by, with the same share of all classes: all, or some at random."""
    n = rows.labels.size
    if n > _MOST_ROWS_TO_CHOOSE_ON:
        share = min(_HELD_OUT, _MOST_ROWS_TO_CHOOSE_ON / n)
    else:
        affordable = n * _MOST_TERMS_TO_CHOOSE_ON // max(rows.features.nnz, 1)
        share = max(affordable, _FEWEST_ROWS_TO_CHOOSE_ON) / n
    order = np.random.default_rng(seed).permutation(n)
    members = [order[rows.labels[order] == label] for label in range(rows.n_classes)]
    return np.sort(np.concatenate([rows[: _taken(rows.size, share)] for rows in members]))


def _taken(n: int, share: float) -> int:
    return min(n, max(round(n * share), min(n - 1, LEAST_ROWS_OF_A_CLASS)))


def _folds(labels: NDArray[np.generic], n_classes: int, seed: int) -> Iterator[Fold]:
    """Rows to fit on and rows to hold out, all classes spread evenly over the folds."""
    fewest = int(np.bincount(labels, minlength=n_classes).min())
    n_folds = min(fewest, 10 if labels.size < 200 else 5)
    random = np.random.default_rng(seed)
    fold = np.empty(labels.size, dtype=np.intp)
    for label in reversed(range(n_classes)):
        members = random.permutation(np.flatnonzero(labels == label))
        fold[members] = np.arange(members.size) % n_folds
    for number in range(n_folds):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _held_out(
    rows: Rows, plans: Sequence[Plan], folds: Sequence[Fold], seed: int
) -> dict[Plan, NDArray[np.float64]]:
    """By plan, the margin of each row by a model that has not seen it."""
    margins = {plan: plan.scale * rows.start for plan in plans}

    def fit_all(fold: Fold) -> None:
        seen, held_out = fold
        known, features = rows[seen], rows.features[held_out]
        ratios = any(plan.ratios for plan in plans)
        weighed = _weighed(known) if ratios else None
        for plan in plans:
            difference, bias = _fit(known, plan, seed, _COARSE_TOLERANCE, weighed)
            margins[plan][held_out] += features @ difference + bias

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Each in a copy of this context, so that all see the same `stop_flag`.
        for running in [pool.submit(copy_context().run, fit_all, fold) for fold in folds]:
            running.result()
    return margins


def _held_out_losses(
    margins: NDArray[np.float64],
    labels: NDArray[np.generic],
    folds: Sequence[Fold],
    possible: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """Log loss of each row, calibrated on the other folds."""
    losses = np.empty(labels.size)
    for seen, held_out in folds:
        slope, offset = calibrate(margins[seen], labels[seen], _of_rows(possible, seen))
        z, own = slope * margins[held_out] + offset, labels[held_out]
        if z.ndim == 1:
            losses[held_out] = np.logaddexp(0, np.where(own == 1, -z, z))
        else:
            logarithms = log_softmax(z + _allowed(_of_rows(possible, held_out)), axis=1)
            losses[held_out] = -logarithms[np.arange(own.size), own]
    return losses


def _clearly_best(first: Plan, losses: dict[Plan, NDArray[np.float64]]) -> Plan:
    """The plan of the lowest loss if it beats `first` by a standard error; else `first`."""
    best = min(losses, key=lambda plan: losses[plan].mean())
    gain = losses[first] - losses[best]
    error = gain.std() / np.sqrt(gain.size)
    return best if gain.mean() > error else first


def _fit(
    rows: Rows,
    plan: Plan,
    seed: int,
    tolerance: float = _TOLERANCE,
    weighed: Sequence[_Weighed] | None = None,
) -> tuple[NDArray[np.float32], float | NDArray[np.float64]]:
    """The difference and the bias; `weighed` is needed by plans with ratios, and made if missing.

    There is one for each of `_sides`. All such plans can share them.
    """
    sides = _sides(rows)
    used: Sequence[_Weighed | None] = [None] * len(sides)
    if plan.ratios and plan.C:
        used = weighed or _weighed(rows)
    found = [
        _fit_side(side, plan, seed, tolerance, each) for side, each in zip(sides, used, strict=True)
    ]
    if rows.start.ndim == 1:
        return found[0]
    return np.column_stack([each[0] for each in found]), np.array([each[1] for each in found])


def _sides(rows: Rows) -> list[Rows]:
    """Rows with a single margin, and whether they are positive: one for each margin of `rows`.

    Each has the rows that say something about its class.
    """
    if rows.start.ndim == 1:
        return [Rows(rows.features, rows.start, rows.labels == 1)]
    sides = []
    for label in range(rows.n_classes):
        told = rows
        if rows.possible is not None and not rows.possible[:, label].all():
            told = rows[np.flatnonzero(rows.possible[:, label])]
        sides.append(Rows(told.features, told.start[:, label], told.labels == label))
    return sides


def _fit_side(
    side: Rows, plan: Plan, seed: int, tolerance: float, weighed: _Weighed | None
) -> tuple[NDArray[np.float32], float]:
    if not plan.C:
        return np.zeros(side.features.shape[1], dtype=np.float32), 0.0
    difference, bias, _ = dual_coordinate_descent(
        weighed.features if weighed else side.features,
        np.arange(side.labels.size),
        np.where(side.labels, 1.0, -1.0),
        np.full(side.labels.size, plan.C),
        tolerance,
        _PASSES,
        seed,
        start=plan.scale * side.start,
    )
    return difference * weighed.ratios if weighed else difference, bias


class _Weighed(NamedTuple):
    """Features times what each n-gram is multiplied with."""

    ratios: NDArray[np.float32]
    features: csr_matrix


def _weighed(rows: Rows) -> list[_Weighed]:
    """The features of each of `_sides`, times its ratios."""
    found = []
    for side in _sides(rows):
        ratios = _ratios(side, _nbsvm(rows.n_classes))
        features = side.features.copy()
        features.data *= ratios[features.indices]
        features.eliminate_zeros()
        found.append(_Weighed(ratios, features))
    return found


def _ratios(side: Rows, parameters: Mapping[str, float]) -> NDArray[np.float32]:
    """What each n-gram is multiplied with, shape (m,): 0 for the rare and the indifferent ones.

    The same numbers as those of the subject nbsvm with these parameters.
    """
    columns, n = side.features.indices, side.features.shape[1]
    of_positive = np.repeat(side.labels, np.diff(side.features.indptr))
    positive = np.bincount(columns[of_positive], minlength=n)
    frequency = np.bincount(columns, minlength=n)
    kept = np.flatnonzero(frequency >= parameters["min_df"])
    found = log_count_ratio(positive[kept], (frequency - positive)[kept], parameters["smoothing"])
    found[np.abs(found) < parameters["min_ratio"]] = 0
    ratios = np.zeros(n, dtype=np.float32)
    ratios[kept] = found / frequency[kept] ** parameters["damping"]
    return ratios

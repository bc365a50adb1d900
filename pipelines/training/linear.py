"""Linear classifiers for sparse text features, solved by compiled dual coordinate descent."""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.naive_bayes import ComplementNB
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from pipelines.text.row_blocks import RowBlocks
from pipelines.training.stopping import Flag, stop_flag

_AT_ONCE: Final = 4
"""Blocks that are in memory together, others each time: rows that always stand in the same company
take many times as long (reviews of films: 15 readings to a tolerance that 40 do not reach)."""
_PASSES: Final = 4
"""Passes over blocks each time they are read."""
_NEWTON_STEPS: Final = 100
_NEWTON_TOL: Final = 0.1
"""Share of the tolerance that is left of a gradient."""


class LinearSVM(ClassifierMixin, BaseEstimator):
    """Support vector machine with squared hinge loss for two classes.

    The problem and the method are those of `sklearn.svm.LinearSVC` (Hsieh et al. 2008, "A Dual
    Coordinate Descent Method for Large-scale Linear SVM", with shrinking); the solver is compiled
    for float32 rows, releases the GIL and does not copy its input.

    Parameters
    ----------
    C : float
        Weight of the loss against the L2 penalty.
    class_weight : None, "balanced" or dict
        What `C` is multiplied with for each class; ``balanced`` is n / (2 * n of the class).
    tol : float
        Stop when the largest violation of optimality is below it.
    max_iter : int
        Passes over the rows at the most.
    random_state : int, RandomState or None
        Order in which rows are visited.

    Attributes
    ----------
    classes_ : array, shape (2,)
    coef_ : float32 array, shape (1, n_features)
    intercept_ : float64 array, shape (1,)
    n_iter_ : int

    Notes
    -----
    Not good for more than two classes, for dense features of different scales (scale them first),
    or where a feature means something else beside another one. Its margins are no probabilities:
    wrap it in `pipelines.training.calibration.SigmoidCalibrated`. With a `tol` as coarse as the
    default, other seeds give slightly different coefficients.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.training.linear import LinearSVM
    >>> X = csr_matrix([[1, 0], [1, 1], [0, 1], [0, 2]], dtype="float32")
    >>> model = LinearSVM(C=10.0, random_state=0).fit(X, ["good", "good", "bad", "bad"])
    >>> model.predict(csr_matrix([[2, 1], [0, 3]], dtype="float32")).tolist()
    ['good', 'bad']
    """

    _logistic = False

    def __init__(
        self,
        C: float = 1.0,
        class_weight: str | dict[object, float] | None = None,
        tol: float = 0.1,
        max_iter: int = 100,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: csr_matrix | RowBlocks, y: ArrayLike) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,)."""
        X, signs = self._check(X, y)
        rows = np.arange(X.shape[0])
        random = check_random_state(self.random_state)
        seed = random.randint(2**31 - 1)
        coef, bias, self.n_iter_ = self._solve(X, signs, rows, seed, stop_flag())
        self.coef_ = coef[np.newaxis]
        self.intercept_ = np.array([bias])
        return self

    def decision_function(self, X: csr_matrix | RowBlocks) -> NDArray[np.float64]:
        """Margins of rows `X`, shape (n,); positive means ``classes_[1]``."""
        check_is_fitted(self)
        if isinstance(X, RowBlocks):
            return np.concatenate([self.decision_function(block) for block in X])
        X = csr_matrix(validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=False))
        return _margins(X.indptr, X.indices, X.data, self.coef_[0], self.intercept_[0])

    def predict(self, X: csr_matrix) -> NDArray[np.generic]:
        """Labels of rows `X`, shape (n,)."""
        positive = self.decision_function(X) > 0
        return self.classes_[positive.astype(np.intp)]

    def _check(
        self, X: csr_matrix | RowBlocks, y: ArrayLike
    ) -> tuple[csr_matrix | RowBlocks, NDArray[np.float64]]:
        for name in ("C", "tol", "max_iter"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be positive, not {value!r}")
        if isinstance(X, RowBlocks):
            self.n_features_in_ = X.shape[1]
        else:
            X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float32)
            X = csr_matrix(X)
        check_classification_targets(y)
        self.classes_, positions = np.unique(y, return_inverse=True)
        if self.classes_.size != 2:
            raise ValueError(_not_binary(self.classes_.size))
        return X, np.where(positions == 1, 1.0, -1.0)

    def _solve(
        self,
        X: csr_matrix | RowBlocks,
        signs: NDArray[np.float64],
        rows: NDArray[np.intp],
        seed: int,
        stop: Flag,
    ) -> tuple[NDArray[np.float32], float, int]:
        signs = signs[rows]
        costs = np.full(rows.size, float(self.C))
        labels = self.classes_[(signs > 0).astype(np.intp)]
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
        costs *= np.where(signs > 0, weights[1], weights[0])
        tol, max_iter = float(self.tol), int(self.max_iter)
        return dual_coordinate_descent(
            X, rows, signs, costs, tol, max_iter, int(seed), stop, logistic=self._logistic
        )

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags


class DualLogisticRegression(LinearSVM):
    """Logistic regression for two classes, for rows in blocks too.

    The problem is that of `sklearn.linear_model.LogisticRegression` with liblinear; the parameters
    and attributes are those of `LinearSVM`.

    Notes
    -----
    Not good for rows that fit into memory: liblinear does the same. Neither for more than two
    classes.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.training.linear import DualLogisticRegression
    >>> X = csr_matrix([[1, 0], [1, 1], [0, 1], [0, 2]], dtype="float32")
    >>> model = DualLogisticRegression(C=10.0).fit(X, ["good", "good", "bad", "bad"])
    >>> model.predict(csr_matrix([[2, 1], [0, 3]], dtype="float32")).tolist()
    ['good', 'bad']
    """

    _logistic = True


class BaggedLinearSVM(LinearSVM):
    """The mean of linear support vector machines, each fitted on a bootstrap sample.

    The mean of linear functions is linear, so only the mean is kept: the model is as small and
    as fast as one machine.

    Parameters
    ----------
    n_estimators : int
        Number of machines.
    max_samples : float
        Size of a sample, as a share of the rows.

    The others are those of `LinearSVM`.

    Notes
    -----
    Not good for saving time: it fits `n_estimators` machines and is seldom more accurate than one.
    It says nothing about how far the machines disagree, as they are not kept.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.training.linear import BaggedLinearSVM
    >>> X = csr_matrix([[1, 0], [1, 1], [0, 1], [0, 2]], dtype="float32")
    >>> model = BaggedLinearSVM(5, random_state=0).fit(X, ["good", "good", "bad", "bad"])
    >>> model.coef_.shape
    (1, 2)
    >>> model.predict(csr_matrix([[2, 0], [0, 3]], dtype="float32")).tolist()
    ['good', 'bad']
    """

    def __init__(
        self,
        n_estimators: int = 10,
        max_samples: float = 1.0,
        C: float = 1.0,
        class_weight: str | dict[object, float] | None = None,
        tol: float = 0.1,
        max_iter: int = 100,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(C, class_weight, tol, max_iter, random_state)
        self.n_estimators = n_estimators
        self.max_samples = max_samples

    def fit(self, X: csr_matrix, y: ArrayLike) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,)."""
        if not self.n_estimators >= 1:
            raise ValueError(f"n_estimators must be at least 1, not {self.n_estimators!r}")
        if not 0 < self.max_samples <= 1:
            raise ValueError(f"max_samples must lie between 0 and 1, not {self.max_samples!r}")
        X, signs = self._check(X, y)
        random = check_random_state(self.random_state)
        seeds = random.randint(2**31 - 1, size=self.n_estimators)
        stop = stop_flag()

        def fit_one(seed: int) -> tuple[NDArray[np.float32], float, int]:
            rows = _bootstrap(signs, self.max_samples, seed)
            return self._solve(X, signs, rows, seed, stop)

        # One result at a time is added up, so memory does not grow with the number of machines.
        total = np.zeros(X.shape[1])
        bias = 0.0
        self.n_iter_ = 0
        threads = 1 if isinstance(X, RowBlocks) else os.cpu_count()
        with ThreadPoolExecutor(threads) as pool:
            for coef, intercept, passes in pool.map(fit_one, seeds):
                total += coef
                bias += intercept
                self.n_iter_ = max(self.n_iter_, passes)
        self.coef_ = (total / self.n_estimators).astype(np.float32)[np.newaxis]
        self.intercept_ = np.array([bias / self.n_estimators])
        return self


class LinearComplementNB(ComplementNB):
    """`sklearn.naive_bayes.ComplementNB` for two classes with its margin.

    Complement naive Bayes is linear in its input: the margin is the difference of the two joint
    log-likelihoods. scikit-learn offers only probabilities, which would be calibrated less well.

    The parameters are those of `sklearn.naive_bayes.ComplementNB`.

    Notes
    -----
    Not good for negative features, which it refuses, or for accuracy: it takes features for
    independent, and n-grams are not. Its strength is that it is fitted in one pass.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.training.linear import LinearComplementNB
    >>> X = csr_matrix([[1, 0], [1, 1], [0, 1], [0, 2]], dtype="float32")
    >>> model = LinearComplementNB(alpha=0.3).fit(X, ["good", "good", "bad", "bad"])
    >>> model.predict(csr_matrix([[2, 0], [0, 3]], dtype="float32")).tolist()
    ['good', 'bad']
    """

    def fit(
        self,
        X: csr_matrix | RowBlocks,
        y: ArrayLike,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,)."""
        if isinstance(X, RowBlocks):
            if hasattr(self, "classes_"):
                del self.classes_  # else `partial_fit` would go on
            labels = np.asarray(y)
            for place, block in zip(X.slices(), X, strict=True):
                self.partial_fit(block, labels[place], np.unique(labels))
        else:
            super().fit(X, y, sample_weight)
        if self.classes_.size != 2:
            raise ValueError(_not_binary(self.classes_.size))
        return self

    def decision_function(self, X: csr_matrix | RowBlocks) -> NDArray[np.float64]:
        """Margins of rows `X`, shape (n,); positive means ``classes_[1]``."""
        check_is_fitted(self)
        if isinstance(X, RowBlocks):
            return np.concatenate([self.decision_function(block) for block in X])
        likelihood = self._joint_log_likelihood(self._check_X(X))
        return np.asarray(likelihood[:, 1] - likelihood[:, 0], dtype=np.float64)

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Weights of the margin, shape (1, n_features)."""
        return self.feature_log_prob_[1:] - self.feature_log_prob_[:1]

    @property
    def intercept_(self) -> NDArray[np.float64]:
        """Always 0 for two classes, shape (1,)."""
        return np.zeros(1)

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _not_binary(n_classes: int) -> str:
    return (
        f"Only binary classification is supported. Got {n_classes} "
        f"class{'es' if n_classes != 1 else ''}."
    )


def _bootstrap(signs: NDArray[np.float64], share: float, seed: int) -> NDArray[np.intp]:
    """Rows drawn with replacement, sorted; drawn again in the rare case that a class is missing."""
    random = np.random.RandomState(seed)
    size = max(2, round(share * signs.size))
    while True:
        rows = np.sort(random.randint(signs.size, size=size))
        if np.ptp(signs[rows]) > 0:
            return rows


@njit(cache=True, nogil=True)
def _margins(
    offsets: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    coef: NDArray[np.float32],
    bias: float,
) -> NDArray[np.float64]:
    margins = np.empty(offsets.size - 1)
    for row in range(margins.size):
        total = 0.0
        for entry in range(offsets[row], offsets[row + 1]):
            total += np.float64(values[entry]) * np.float64(coef[columns[entry]])
        margins[row] = total + bias
    return margins


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
    Data Cannot Fit in Memory". The optimum is the same.

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
        Passes over the rows at the most; how often each block is read.
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
) -> tuple[float, int, float, float]:
    """The loop of `dual_coordinate_descent`; names follow Hsieh et al. (2008), algorithm 3.

    It goes on from `w`, `b` and `alpha`, and changes `w` and `alpha`. Returns b, the number of
    passes, and the highest and the lowest projected gradient of the first pass.
    """
    n = rows.size
    diagonal = 0.5 / costs
    curvature = np.empty(n)
    for i in range(n):
        square = 1.0
        for entry in range(offsets[rows[i]], offsets[rows[i] + 1]):
            square += np.float64(values[entry]) * np.float64(values[entry])
        curvature[i] = square + diagonal[i]
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
                b += step
                step32 = np.float32(step)
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
            b += step
            step32 = np.float32(step)
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

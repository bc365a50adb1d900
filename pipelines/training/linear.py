"""Linear classifiers for sparse text features, solved by compiled dual coordinate descent."""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Self

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
    """

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

    def fit(self, X: csr_matrix, y: ArrayLike) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,)."""
        X, signs = self._check(X, y)
        rows = np.arange(X.shape[0])
        random = check_random_state(self.random_state)
        coef, bias, self.n_iter_ = self._solve(X, signs, rows, random.randint(2**31 - 1))
        self.coef_ = coef[np.newaxis]
        self.intercept_ = np.array([bias])
        return self

    def decision_function(self, X: csr_matrix) -> NDArray[np.float64]:
        """Margins of rows `X`, shape (n,); positive means ``classes_[1]``."""
        check_is_fitted(self)
        X = csr_matrix(validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=False))
        return _margins(X.indptr, X.indices, X.data, self.coef_[0], self.intercept_[0])

    def predict(self, X: csr_matrix) -> NDArray[np.generic]:
        """Labels of rows `X`, shape (n,)."""
        positive = self.decision_function(X) > 0
        return self.classes_[positive.astype(np.intp)]

    def _check(self, X: csr_matrix, y: ArrayLike) -> tuple[csr_matrix, NDArray[np.float64]]:
        for name in ("C", "tol", "max_iter"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be positive, not {value!r}")
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float32)
        check_classification_targets(y)
        self.classes_, positions = np.unique(y, return_inverse=True)
        if self.classes_.size != 2:
            raise ValueError(_not_binary(self.classes_.size))
        return csr_matrix(X), np.where(positions == 1, 1.0, -1.0)

    def _solve(
        self, X: csr_matrix, signs: NDArray[np.float64], rows: NDArray[np.intp], seed: int
    ) -> tuple[NDArray[np.float32], float, int]:
        signs = signs[rows]
        costs = np.full(rows.size, float(self.C))
        labels = self.classes_[(signs > 0).astype(np.intp)]
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
        costs *= np.where(signs > 0, weights[1], weights[0])
        return descend(
            X.indptr,
            X.indices,
            X.data,
            rows.astype(np.int64),
            signs,
            costs,
            X.shape[1],
            float(self.tol),
            int(self.max_iter),
            int(seed),
        )

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags


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

        def fit_one(seed: int) -> tuple[NDArray[np.float32], float, int]:
            rows = _bootstrap(signs, self.max_samples, seed)
            return self._solve(X, signs, rows, seed)

        # One result at a time is added up, so memory does not grow with the number of machines.
        total = np.zeros(X.shape[1])
        bias = 0.0
        self.n_iter_ = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
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
    """

    def fit(
        self, X: csr_matrix, y: ArrayLike, sample_weight: NDArray[np.float64] | None = None
    ) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,)."""
        super().fit(X, y, sample_weight)
        if self.classes_.size != 2:
            raise ValueError(_not_binary(self.classes_.size))
        return self

    def decision_function(self, X: csr_matrix) -> NDArray[np.float64]:
        """Margins of rows `X`, shape (n,); positive means ``classes_[1]``."""
        check_is_fitted(self)
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


@njit(cache=True, nogil=True)
def descend(
    offsets: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    signs: NDArray[np.float64],
    costs: NDArray[np.float64],
    n_features: int,
    tol: float,
    max_iter: int,
    seed: int,
) -> tuple[NDArray[np.float32], float, int]:
    """Minimise ``(|w|^2 + b^2) / 2 + sum(costs * max(0, 1 - signs * margin) ** 2)``.

    `rows` says which rows of the matrix to use, in the order of `signs` and `costs`. Returns
    coefficients, intercept and passes. Names follow Hsieh et al. (2008), algorithm 3.
    """
    n = rows.size
    w = np.zeros(n_features, dtype=np.float32)
    b = 0.0
    alpha = np.zeros(n)
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
    while passes < max_iter:
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
            margin = b + _product(columns, values, begin, end, w)
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
        if highest - lowest < tol:
            if active == n:
                break
            # Converged on what is left: look at all rows once more before stopping.
            active = n
            highest_before = np.inf
        else:
            highest_before = highest if highest > 0 else np.inf
    return w, b, passes


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

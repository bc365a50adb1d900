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

from pipelines.text.row_blocks import RowBlocks
from pipelines.training.dual_descent import dual_coordinate_descent
from pipelines.training.stopping import Flag, stop_flag


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
            return np.concatenate(list(X.each(self.decision_function)))
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
        weights = compute_class_weight(
            self.class_weight,
            classes=self.classes_,
            y=self.classes_[(signs > 0).astype(np.intp)],  # not kept: names take much memory
        )
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
            return np.concatenate(list(X.each(self.decision_function)))
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

"""Scores -> probabilities, by a sigmoid or softmax fitted on scores of rows that were held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from pipelines.labels import POSITIVE_FROM
from pipelines.text.row_blocks import RowBlocks
from pipelines.training.one_vs_rest import possible_classes
from pipelines.training.stopping import end_if_asked

_NEWTON_STEPS: Final = 100
_SMALLEST_STEP: Final = 1e-12
_PENALTY: Final = 1.0
_SLIGHT_PENALTY: Final = 1e-3
"""Keeps what the rows do not decide from being anything."""


class SigmoidCalibrated(ClassifierMixin, BaseEstimator):
    """A classifier for two classes whose scores become probabilities.

    The method is that of `sklearn.calibration.CalibratedClassifierCV` with one classifier for all
    (Platt 1999): the sigmoid is fitted on the scores of held-out folds, and the classifier on all
    rows. Here, the classifier and those of the folds fit at the same time.

    Parameters
    ----------
    estimator : classifier
        With a ``decision_function`` or ``predict_proba``.
    folds : int
        Each is held out once.
    threads : int
        How many classifiers fit at a time; each needs memory for its features.
    random_state : int, RandomState or None
        Which rows are in which fold.
    classes : sequence of two labels, optional
        In the order of the columns of probabilities.

    Attributes
    ----------
    classes_ : array, shape (2,)
        As in `classes`, sorted by default.
    estimator_ : classifier
        Fitted on all rows.
    slope_, offset_ : float
        The probability is ``1 / (1 + exp(-(slope_ * score + offset_)))``.

    Notes
    -----
    Not good for scores whose relation to the probability is not a sigmoid, such as those of trees
    that are fitted to their end (isotonic regression suits them better), for a few dozen rows, or
    for texts of another kind than those it was fitted on: their probabilities are off, however
    well it is calibrated on its own.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.training.calibration import SigmoidCalibrated
    >>> from pipelines.training.linear import LinearSVM
    >>> X = csr_matrix([[2, 1], [1, 0], [1, 1], [0, 1], [0, 2], [1, 2]], dtype="float32")
    >>> y = ["good", "good", "bad", "bad", "bad", "good"]
    >>> model = SigmoidCalibrated(LinearSVM(random_state=0), random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (6, 2)
    """

    classes: Sequence[str] | None = None
    """Of the class too: models that were saved without it have none of their own."""

    def __init__(
        self,
        estimator: BaseEstimator,
        folds: int = 2,
        threads: int = 1,
        random_state: int | np.random.RandomState | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.folds = folds
        self.threads = threads
        self.random_state = random_state
        self.classes = classes

    def fit(self, X: csr_matrix, y: ArrayLike) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,)."""
        labels = np.asarray(y)
        self.classes_, sizes = np.unique(labels, return_counts=True)
        if self.classes is not None:
            self.classes_ = np.asarray(self.classes)
        if self.classes_.size != 2 or sizes.min() < self.folds:
            raise ValueError(f"two classes of {self.folds} rows or more are needed to calibrate")
        splitter = StratifiedKFold(self.folds, shuffle=True, random_state=self.random_state)
        scores = np.empty(labels.size)
        whole, parts = _sharing(X, self.folds, self.threads)

        def fit_whole() -> None:
            self.estimator_ = clone(self.estimator).fit(whole, labels)

        def fit_fold(seen: NDArray[np.intp], held_out: NDArray[np.intp]) -> None:
            classifier = clone(self.estimator).fit(parts[seen], labels[seen])
            scores[held_out] = scores_of(classifier, X[held_out])

        # The longest first.
        _run(
            [fit_whole, *(partial(fit_fold, *split) for split in splitter.split(X, labels))],
            self.threads,
        )
        self.slope_, self.offset_ = fit_sigmoid(scores, labels == self.classes_[1])
        return self

    def decision_function(self, X: csr_matrix) -> NDArray[np.float64]:
        """Scores of rows `X` before they become probabilities, shape (n,)."""
        check_is_fitted(self)
        return scores_of(self.estimator_, X)

    def predict_proba(self, X: csr_matrix) -> NDArray[np.float64]:
        """Probabilities of both classes for rows `X`, shape (n, 2)."""
        positive = expit(self.slope_ * self.decision_function(X) + self.offset_)
        return np.column_stack([1 - positive, positive])

    def predict(self, X: csr_matrix) -> NDArray[np.generic]:
        """Labels of rows `X`, shape (n,)."""
        likelier = self.predict_proba(X)[:, 1] >= POSITIVE_FROM
        return self.classes_[likelier.astype(np.intp)]

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags


class SoftmaxCalibrated(ClassifierMixin, BaseEstimator):
    """A classifier for more than two classes whose scores become probabilities.

    A multinomial logistic regression is fitted on the scores of held-out folds (matrix scaling,
    Guo et al. 2017, "On Calibration of Modern Neural Networks"), and the classifier on all rows.
    A row of a data set that lacks some of the classes counts among its possible ones only.

    Parameters
    ----------
    estimator : classifier
        With a ``decision_function`` or ``predict_proba``.
    classes : sequence of str
        The labels, in the order of the columns of probabilities.
    ordered : bool
        Whether that order means something; kept for those who use the model.
    folds, threads, random_state
        As in `SigmoidCalibrated`.

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
    estimator_ : classifier
        Fitted on all rows; its labels are the numbers of the classes.
    coef_ : float64 array, shape (n_classes, n_scores)
    intercept_ : float64 array, shape (n_classes,)
        The probabilities are ``softmax(coef_ @ scores + intercept_)``.

    Notes
    -----
    Not good for a class of a few rows: its scores are too few to calibrate on.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.training.calibration import SoftmaxCalibrated
    >>> from pipelines.training.linear import LinearSVM
    >>> from pipelines.training.one_vs_rest import OneVsRest
    >>> X = csr_matrix([[1, 0, 0], [0, 1, 0], [0, 0, 1]] * 2, dtype="float32")
    >>> machines = OneVsRest(LinearSVM(random_state=0))
    >>> model = SoftmaxCalibrated(machines, ["bad", "so so", "good"], random_state=0)
    >>> model.fit(X, ["good", "so so", "bad"] * 2).predict_proba(X).shape
    (6, 3)
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        classes: Sequence[str],
        ordered: bool = False,
        folds: int = 2,
        threads: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.classes = classes
        self.ordered = ordered
        self.folds = folds
        self.threads = threads
        self.random_state = random_state

    def fit(self, X: csr_matrix, y: ArrayLike, possible: NDArray[np.bool_] | None = None) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,).

        `possible`, shape (n, n_classes), says which classes a row could have had; None: all.
        """
        self.classes_ = np.asarray(self.classes)
        numbers = {name: number for number, name in enumerate(self.classes)}
        labels = np.array([numbers[name] for name in np.asarray(y).tolist()], dtype=np.int8)
        sizes = np.bincount(labels, minlength=self.classes_.size)
        if sizes.min() < self.folds:
            raise ValueError(
                f"the class {self.classes_[sizes.argmin()]} has {sizes.min()} training texts; "
                f"{self.folds} or more of each class are needed"
            )
        splitter = StratifiedKFold(self.folds, shuffle=True, random_state=self.random_state)
        held_out_scores: list[tuple[NDArray[np.intp], NDArray[np.float64]]] = []

        whole, parts = _sharing(X, self.folds, self.threads)

        def fit_rows(X: csr_matrix, rows: slice | NDArray[np.intp]) -> BaseEstimator:
            told = possible_classes(self.estimator, None if possible is None else possible[rows])
            return clone(self.estimator).fit(X[rows], labels[rows], **told)

        def fit_whole() -> None:
            self.estimator_ = fit_rows(whole, slice(None))

        def fit_fold(seen: NDArray[np.intp], held_out: NDArray[np.intp]) -> None:
            classifier = fit_rows(parts, seen)
            held_out_scores.append((held_out, class_scores_of(classifier, X[held_out])))

        _run(
            [fit_whole, *(partial(fit_fold, *split) for split in splitter.split(X, labels))],
            self.threads,
        )
        scores = np.empty((labels.size, held_out_scores[0][1].shape[1]))
        for rows, found in held_out_scores:
            scores[rows] = found
        self.coef_, self.intercept_ = fit_softmax(scores, labels, self.classes_.size, possible)
        return self

    def decision_function(self, X: csr_matrix) -> NDArray[np.float64]:
        """Logarithms of the probabilities of rows `X` but for a constant, shape (n, n_classes)."""
        check_is_fitted(self)
        return class_scores_of(self.estimator_, X) @ self.coef_.T + self.intercept_

    def predict_proba(self, X: csr_matrix) -> NDArray[np.float64]:
        """Probabilities of the classes for rows `X`, shape (n, n_classes)."""
        return np.asarray(softmax(self.decision_function(X), axis=1), dtype=np.float64)

    def predict(self, X: csr_matrix) -> NDArray[np.generic]:
        """Labels of rows `X`, shape (n,)."""
        likeliest: NDArray[np.generic] = self.classes_[self.decision_function(X).argmax(axis=1)]
        return likeliest

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _sharing(
    X: csr_matrix | RowBlocks, folds: int, threads: int
) -> tuple[csr_matrix | RowBlocks, csr_matrix | RowBlocks]:
    """The rows for the fit on all of them and for those of folds, which may be beside it."""
    if not isinstance(X, RowBlocks):
        return X, X
    of_fold = (folds - 1) / folds
    of_all = 1 + (threads - 1) * of_fold
    return X.within(1 / of_all), X.within(of_fold / of_all if threads > 1 else 1)


def _run(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    if threads == 1:
        for task in tasks:
            end_if_asked()
            task()
        return
    with ThreadPoolExecutor(threads) as pool:
        # Each in a copy of this context, so that all see the same `stop_flag`.
        for running in [pool.submit(copy_context().run, task) for task in tasks]:
            running.result()


def scores_of(classifier: BaseEstimator, X: csr_matrix) -> NDArray[np.float64]:
    """Margins of rows `X`, or probabilities of the second class if there are no margins."""
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(X), dtype=np.float64)
    return np.asarray(classifier.predict_proba(X)[:, 1], dtype=np.float64)


def class_scores_of(classifier: BaseEstimator, X: csr_matrix) -> NDArray[np.float64]:
    """Margins of rows `X` for each class, or probabilities, shape (n, n_classes)."""
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(X), dtype=np.float64)
    return np.asarray(classifier.predict_proba(X), dtype=np.float64)


def fit_softmax(
    scores: NDArray[np.float64],
    labels: NDArray[np.int8],
    n_classes: int,
    possible: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients and intercepts from scores to the logits of classes.

    The weights off the diagonal, which say what a class's score says of another class, are held
    near 0, more so the fewer rows there are.

    Parameters
    ----------
    scores : float64 array, shape (n, n_scores)
    labels : int array, shape (n,)
    n_classes : int
    possible : bool array, shape (n, n_classes), optional
        Which classes a row could have had.

    Returns
    -------
    coef : float64 array, shape (n_classes, n_scores)
    intercept : float64 array, shape (n_classes,)
    """
    n, n_scores = scores.shape
    scale = float(np.abs(scores).max()) or 1.0
    scaled = scores / scale
    targets = np.zeros((n, n_classes))
    targets[np.arange(n), labels] = 1
    allowed = 0.0 if possible is None else np.where(possible, 0.0, -np.inf)
    penalty = _PENALTY * (1 - np.eye(n_classes, n_scores)) + _SLIGHT_PENALTY

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        coef = parameters[: n_classes * n_scores].reshape(n_classes, n_scores)
        intercept = parameters[n_classes * n_scores :]
        logarithms = log_softmax(scaled @ coef.T + intercept + allowed, axis=1)
        error = np.exp(logarithms) - targets
        value = -logarithms[np.arange(n), labels].sum() + (penalty * coef**2).sum() / 2
        value += _SLIGHT_PENALTY * (intercept**2).sum() / 2
        gradient = [error.T @ scaled + penalty * coef, error.sum(0) + _SLIGHT_PENALTY * intercept]
        return float(value) / n, np.concatenate([each.ravel() for each in gradient]) / n

    start = np.zeros(n_classes * n_scores + n_classes)
    with threadpool_limits(1, "blas"):  # as in `adapt`
        found = minimize(
            loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-7}
        ).x
    coef = found[: n_classes * n_scores].reshape(n_classes, n_scores) / scale
    return coef, found[n_classes * n_scores :]


def fit_sigmoid(
    scores: NDArray[np.float64],
    positive: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """Slope and offset from score to probability (Platt 1999, with its targets inside 0 and 1).

    Parameters
    ----------
    scores : float64 array, shape (n,)
    positive : bool array, shape (n,)
    weights : float64 array, shape (n,), optional
        How often each row counts; 1 by default.
    """
    weights = np.ones(scores.size) if weights is None else weights
    n_positive = float(weights[positive].sum())
    n_negative = float(weights.sum()) - n_positive
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    scale = float(np.abs(scores).max()) or 1.0
    features = np.column_stack([scores / scale, np.ones(scores.size)])

    def loss(parameters: NDArray[np.float64]) -> float:
        z = features @ parameters
        return float(np.sum(weights * (np.logaddexp(0, z) - target * z)))

    found = np.array([0.0, np.log((n_positive + 1) / (n_negative + 1))])
    for _ in range(_NEWTON_STEPS):
        probability = expit(features @ found)
        curvature = features.T * (weights * probability * (1 - probability)) @ features
        # The diagonal is for scores that are all alike, whose slope could be anything.
        curvature += 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, features.T @ (weights * (probability - target)))
        while loss(found - step) > loss(found) and np.abs(step).max() > _SMALLEST_STEP:
            step /= 2
        found -= step
        if np.abs(step).max() <= _SMALLEST_STEP:
            break
    return float(found[0] / scale), float(found[1])

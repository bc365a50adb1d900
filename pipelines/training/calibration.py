"""Scores -> probabilities, by a sigmoid fitted on scores of rows that were held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import check_is_fitted

_NEWTON_STEPS: Final = 100
_SMALLEST_STEP: Final = 1e-12


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

    Attributes
    ----------
    classes_ : array, shape (2,)
    estimator_ : classifier
        Fitted on all rows.
    slope_, offset_ : float
        The probability is ``1 / (1 + exp(-(slope_ * score + offset_)))``.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        folds: int = 2,
        threads: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.folds = folds
        self.threads = threads
        self.random_state = random_state

    def fit(self, X: csr_matrix, y: ArrayLike) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,)."""
        labels = np.asarray(y)
        self.classes_, sizes = np.unique(labels, return_counts=True)
        if self.classes_.size != 2 or sizes.min() < self.folds:
            raise ValueError(f"two classes of {self.folds} rows or more are needed to calibrate")
        splitter = StratifiedKFold(self.folds, shuffle=True, random_state=self.random_state)
        scores = np.empty(labels.size)

        def fit_whole() -> None:
            self.estimator_ = clone(self.estimator).fit(X, labels)

        def fit_fold(seen: NDArray[np.intp], held_out: NDArray[np.intp]) -> None:
            classifier = clone(self.estimator).fit(X[seen], labels[seen])
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
        likelier = self.predict_proba(X)[:, 1] > 0.5
        return self.classes_[likelier.astype(np.intp)]

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags


def _run(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    if threads == 1:  # in this thread, where Ctrl-C ends them
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(threads) as pool:
        for running in [pool.submit(task) for task in tasks]:
            running.result()


def scores_of(classifier: BaseEstimator, X: csr_matrix) -> NDArray[np.float64]:
    """Margins of rows `X`, or probabilities of the second class if there are no margins."""
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(X), dtype=np.float64)
    return np.asarray(classifier.predict_proba(X)[:, 1], dtype=np.float64)


def fit_sigmoid(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset from score to probability (Platt 1999, with its targets inside 0 and 1)."""
    n_positive = int(positive.sum())
    target = np.where(
        positive, (n_positive + 1) / (n_positive + 2), 1 / (positive.size - n_positive + 2)
    )
    scale = float(np.abs(scores).max()) or 1.0
    features = np.column_stack([scores / scale, np.ones(scores.size)])

    def loss(parameters: NDArray[np.float64]) -> float:
        z = features @ parameters
        return float(np.sum(np.logaddexp(0, z) - target * z))

    found = np.array([0.0, np.log((n_positive + 1) / (positive.size - n_positive + 1))])
    for _ in range(_NEWTON_STEPS):
        probability = expit(features @ found)
        curvature = features.T * (probability * (1 - probability)) @ features
        # The diagonal is for scores that are all alike, whose slope could be anything.
        curvature += 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, features.T @ (probability - target))
        while loss(found - step) > loss(found) and np.abs(step).max() > _SMALLEST_STEP:
            step /= 2
        found -= step
        if np.abs(step).max() <= _SMALLEST_STEP:
            break
    return float(found[0] / scale), float(found[1])

"""Classifiers for two classes, one for each of several classes against the rest."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from pipelines.text.vectorizer import TermWeighting


class OneVsRest(ClassifierMixin, BaseEstimator):
    """One copy of a classifier for each class, which tells it from the others.

    Unlike `sklearn.multiclass.OneVsRestClassifier`, it knows of rows that say nothing about a
    class: those of a data set in which the class cannot occur.

    Parameters
    ----------
    estimator : classifier
        For two classes, with a ``decision_function``.

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
    estimators_ : list of n_classes classifiers

    Notes
    -----
    Not good for classes that differ only in how they are mixed of the same features. Margins of
    different classes are not on one scale; `SoftmaxCalibrated` puts them on one.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from pipelines.training.linear import LinearSVM
    >>> from pipelines.training.one_vs_rest import OneVsRest
    >>> X = csr_matrix([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype="float32")
    >>> model = OneVsRest(LinearSVM(random_state=0)).fit(X, ["good", "so so", "bad"])
    >>> model.predict(X).tolist()
    ['good', 'so so', 'bad']
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self.estimator = estimator

    def fit(self, X: csr_matrix, y: ArrayLike, possible: NDArray[np.bool_] | None = None) -> Self:
        """Fit on rows `X`, shape (n, n_features), with labels `y`, shape (n,).

        `possible`, shape (n, n_classes), says which classes a row could have had; None: all.
        """
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        self.estimators_ = []
        for number, name in enumerate(self.classes_):
            rows, own = X, labels == name
            if possible is not None and not possible[:, number].all():
                rows, own = X[possible[:, number]], own[possible[:, number]]
            self.estimators_.append(clone(self.estimator).fit(rows, own.astype(np.int8)))
        return self

    def decision_function(self, X: csr_matrix) -> NDArray[np.float64]:
        """Margins of rows `X` for each class, shape (n, n_classes)."""
        check_is_fitted(self)
        return np.column_stack([each.decision_function(X) for each in self.estimators_])

    def predict(self, X: csr_matrix) -> NDArray[np.generic]:
        """Labels of rows `X`, shape (n,)."""
        likeliest: NDArray[np.generic] = self.classes_[self.decision_function(X).argmax(axis=1)]
        return likeliest

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def for_several_classes(classifier: BaseEstimator) -> BaseEstimator:
    """The classifier itself if it takes more than two classes, else one for each class.

    All classes share a weighting of terms that does not look at the labels, as tf-idf.
    """
    if get_tags(classifier).classifier_tags.multi_class:
        return classifier
    if isinstance(classifier, Pipeline) and len(classifier.steps) == 2:
        (name, weighting), (last_name, last) = classifier.steps
        if isinstance(weighting, TermWeighting) and weighting.scheme != "nb":
            return Pipeline([(name, weighting), (last_name, OneVsRest(last))])
    return OneVsRest(classifier)


def possible_classes(
    classifier: BaseEstimator, possible: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.bool_]]:
    """Arguments of ``fit`` that tell `classifier` the possible classes of rows, if it can be told.

    Others take the rows as they are: that a class is absent counts as evidence against it.
    """
    if possible is None:
        return {}
    if isinstance(classifier, Pipeline):
        name, last = classifier.steps[-1]
        return {f"{name}__possible": possible} if has_fit_parameter(last, "possible") else {}
    return {"possible": possible} if has_fit_parameter(classifier, "possible") else {}

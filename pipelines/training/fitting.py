"""Fitting a subject: counts and labels -> a classifier, a calibrated one, a pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Final, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from pipelines.config.params import Metric, Vectorizer
from pipelines.errors import TrainingError
from pipelines.labels import BINARY, POSITIVE_FROM, Classes
from pipelines.text.row_blocks import RowBlocks
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.calibration import (
    SigmoidCalibrated,
    SoftmaxCalibrated,
    class_scores_of,
    scores_of,
)
from pipelines.training.evaluation import evaluate, label_metrics, roc_auc
from pipelines.training.features import Labelled
from pipelines.training.linear import DualLogisticRegression, LinearComplementNB, LinearSVM
from pipelines.training.one_vs_rest import OneVsRest, for_several_classes, possible_classes
from pipelines.training.spreading import SpreadRows
from pipelines.training.starting import StartingSVM
from pipelines.training.subjects import Parameters, Subject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

CALIBRATION_FOLDS: Final = 2
"""Three or five calibrate no better (log loss 0.202 on IMDB each)."""


def fit_classifier(
    subject: Subject, parameters: Parameters, seed: int, data: Labelled, calibrated: bool = False
) -> BaseEstimator:
    """Fit a classifier on counts; the bare one answers with the numbers of classes.

    A calibrated one answers with their names. Its sigmoid (Platt 1999) or softmax is fitted on
    margins of held-out folds; the classifier itself is fitted on all of `data`.
    """
    classifier = subject.build(parameters, seed)
    if isinstance(classifier, StartingSVM):
        return _started(classifier, data, subject, calibrated)
    if isinstance(data.counts, SpreadRows):
        classifier = for_workers(classifier, subject)
    elif isinstance(data.counts, RowBlocks):
        classifier = _for_blocks(classifier, subject, len(data.labels))
    labels: NDArray[np.generic] = data.labels
    if not data.classes.two:
        classifier = for_several_classes(classifier)
    if calibrated:
        classifier = _calibrated(classifier, seed, data.classes)
        labels = np.array(data.classes.names)[data.labels]
    told = possible_classes(classifier, data.possible)
    return _fit(classifier, data.counts, labels, subject, told)


def for_workers(classifier: BaseEstimator, subject: Subject) -> BaseEstimator:
    """What is fitted on rows that are spread over a cluster.

    Raises
    ------
    TrainingError
        If the subject has no solver for them.
    """
    found = _by_dual_descent(classifier)
    if found is None:
        raise TrainingError(
            f"--engine ray cannot fit {subject.name}, only nbsvm, linear_svc, bagging_linear_svc "
            "and logistic_regression, from scratch. Choose one of them, or leave --engine out"
        )
    return found


def _for_blocks(classifier: BaseEstimator, subject: Subject, n_rows: int) -> BaseEstimator:
    """What is fitted on rows that do not fit into memory."""
    found = _by_dual_descent(classifier)
    if found is None and isinstance(_last(classifier), LinearComplementNB):
        found = classifier
    if found is None:
        raise TrainingError(
            f"The features of {n_rows:,} texts do not fit into training.memory of the settings, "
            f"and {subject.name} needs all of them in memory. Raise it, or choose nbsvm, "
            "linear_svc, bagging_linear_svc, logistic_regression or complement_nb, which read "
            "them in blocks"
        )
    return found


def _by_dual_descent(classifier: BaseEstimator) -> BaseEstimator | None:
    """The same classifier, fitted by our own solver; None if that cannot be."""
    last = _last(classifier)
    if isinstance(last, LinearSVM):
        return classifier
    if isinstance(last, LogisticRegression) and last.dual and isinstance(classifier, Pipeline):
        # liblinear needs all rows in memory.
        names = signature(DualLogisticRegression).parameters
        same = DualLogisticRegression(**{name: getattr(last, name) for name in names})
        return Pipeline([*classifier.steps[:-1], (classifier.steps[-1][0], same)])
    return None


def _started(
    classifier: StartingSVM, data: Labelled, subject: Subject, calibrated: bool
) -> BaseEstimator:
    """Fit what starts from another model, which calibrates itself."""
    classifier.start.check_classes(data.classes)
    told = possible_classes(classifier, data.possible)
    _fit(classifier, data.counts, data.labels, subject, told)
    return classifier.classifier_ if calibrated else classifier


def _calibrated(classifier: BaseEstimator, seed: int, classes: Classes) -> BaseEstimator:
    threads = _at_once(classifier)
    if classes.two:
        order = None if classes == BINARY else classes.names
        return SigmoidCalibrated(classifier, CALIBRATION_FOLDS, threads, seed, order)
    return SoftmaxCalibrated(
        classifier, classes.names, classes.ordered, CALIBRATION_FOLDS, threads, seed
    )


def validation_metrics(classifier: BaseEstimator, data: Labelled) -> dict[str, float]:
    """Metrics by the names of `pipelines.config.params.Metric`; log loss if it is calibrated."""
    if isinstance(classifier, SigmoidCalibrated | SoftmaxCalibrated):
        probability = data.classes.compact(classifier.predict_proba(data.counts))
        found = msgspec.structs.asdict(evaluate(data.labels, probability, data.classes))
        return {name: found[name] for name in get_args(Metric) if found[name] is not None}
    if data.classes.two:
        scores = scores_of(classifier, data.counts)
        least = 0 if hasattr(classifier, "decision_function") else POSITIVE_FROM
        predicted = (scores >= least).astype(np.int8)
    else:
        scores = class_scores_of(classifier, data.counts)
        predicted = scores.argmax(axis=1).astype(np.int8)
    found = label_metrics(data.labels, predicted, data.classes)
    if data.classes.two:
        del found["f1_macro"]  # of two classes, a study is about the second one
    area = roc_auc(data.labels, scores)
    return found if area is None else {**found, "roc_auc": area}


def fit_pipeline(
    subject: Subject, parameters: Parameters, seed: int, vectorizer: Vectorizer, data: Labelled
) -> Pipeline:
    """A pipeline from raw text to calibrated probability."""
    steps = [
        ("vectorizer", HashedNgramVectorizer(**msgspec.structs.asdict(vectorizer))),
        ("classifier", fit_classifier(subject, parameters, seed, data, calibrated=True)),
    ]
    return Pipeline(steps)


def probabilities(pipeline: Pipeline, data: Labelled) -> NDArray[np.float64]:
    """Probabilities, as in `pipelines.labels`, for counts that are there already."""
    return data.classes.compact(pipeline.steps[-1][1].predict_proba(data.counts))


def subset(data: Labelled, share: float) -> Labelled:
    """An evenly spaced `share` of the rows of each class, in their order."""
    chosen = np.zeros(data.labels.size, dtype=bool)
    for label in np.unique(data.labels):
        rows = np.flatnonzero(data.labels == label)
        # Data sets stand one below the other: a stride takes its share of each.
        wanted = max(1, round(share * rows.size))
        chosen[rows[np.linspace(0, rows.size - 1, wanted).astype(np.intp)]] = True
    return data[chosen]


def _at_once(classifier: BaseEstimator) -> int:
    """How many of the classifiers to fit at a time; each needs memory for its features.

    Two for our own solver, which is safe in threads and uses one processor. liblinear is not: its
    threads would share one sequence of random numbers.
    """
    return 2 if type(_last(classifier)) in (LinearSVM, DualLogisticRegression) else 1


def _last(classifier: BaseEstimator) -> BaseEstimator:
    """What is fitted last: the classifier of a pipeline, or of each class."""
    while isinstance(classifier, Pipeline | OneVsRest):
        is_pipeline = isinstance(classifier, Pipeline)
        classifier = classifier.steps[-1][1] if is_pipeline else classifier.estimator
    return classifier


def _fit(
    classifier: BaseEstimator,
    counts: object,
    labels: NDArray[np.generic],
    subject: Subject,
    told: Mapping[str, NDArray[np.bool_]],
) -> BaseEstimator:
    try:
        with warnings.catch_warnings():
            # SelectKBest: a small corpus has fewer n-grams than a subject asks for.
            warnings.filterwarnings("ignore", "k=.* is greater than n_features")
            return classifier.fit(counts, labels, **told)
    except (ValueError, TypeError) as error:
        # scikit-learn's way of refusing parameters or data that are too small for them.
        raise TrainingError(f"{subject.name} cannot be fitted: {error}") from error

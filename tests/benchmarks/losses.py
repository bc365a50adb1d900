"""Losses for more than two classes: one against the rest, joint ones, and cumulative ones.

Every loss has the same features, calibration and choice of C: by the log loss of a fifth of the
train texts. The test texts are looked at once for each loss, with the C that was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final, NamedTuple, Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack, vstack
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from pipelines.labels import SENTIMENTS
from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting
from pipelines.training.evaluation import Metrics, evaluate
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_classifier
from pipelines.training.linear import DualLogisticRegression, LinearSVM
from pipelines.training.subjects import Parameters, Subject, get_subject
from tests.benchmarks.class_tasks import C_OF_HINGE, C_OF_LOGISTIC, Task, held_out, tasks
from tests.benchmarks.contest import SEED, VECTORIZER, Contest
from tests.benchmarks.results import Result

_SHARE: Final = 0.2
"""Of all texts, to test on; of the others, to choose C by."""
_THRESHOLD: Final = 5.0
"""Size of the feature that stands for a threshold: the larger, the less its penalty counts."""


class _Above(ClassifierMixin, BaseEstimator):
    """Ordered classes: one copy of a classifier for each threshold between two of them.

    Frank and Hall (2001), "A Simple Approach to Ordinal Classification".
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self.estimator = estimator

    def fit(self, X: csr_matrix, y: NDArray[np.int8]) -> Self:
        self.classes_ = np.unique(y)
        self.estimators_ = [
            clone(self.estimator).fit(X, (y > lower).astype(np.int8))
            for lower in self.classes_[:-1]
        ]
        return self

    def decision_function(self, X: csr_matrix) -> NDArray[np.float64]:
        return np.column_stack([each.decision_function(X) for each in self.estimators_])

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class _Thresholds(ClassifierMixin, BaseEstimator):
    """Ordered classes: one set of weights, and a threshold between every two classes.

    A row stands once for each threshold, which it is above or below: Li and Lin (2006), "Ordinal
    Regression by Extended Binary Classification". With logistic loss, it has the assumption of
    proportional odds.
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self.estimator = estimator

    def fit(self, X: csr_matrix, y: NDArray[np.int8]) -> Self:
        self.classes_ = np.unique(y)
        lower = self.classes_[:-1]
        rows = vstack([self._beside(X, number, lower.size) for number in range(lower.size)])
        above = np.concatenate([y > each for each in lower]).astype(np.int8)
        self.estimator_ = clone(self.estimator).fit(csr_matrix(rows), above)
        return self

    def decision_function(self, X: csr_matrix) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = X @ self.estimator_.coef_[0, : X.shape[1]]
        return scores[:, np.newaxis].astype(np.float64)

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @staticmethod
    def _beside(X: csr_matrix, number: int, count: int) -> csr_matrix:
        thresholds = np.zeros((X.shape[0], count), dtype=np.float32)
        thresholds[:, number] = _THRESHOLD
        return hstack([X, csr_matrix(thresholds)], format="csr", dtype=np.float32)


class Loss(NamedTuple):
    """A loss, and the values of C to choose from."""

    name: str
    subject: Subject
    strengths: tuple[float, ...]


def _on_tfidf(name: str, make: Callable[[float], BaseEstimator], *strengths: float) -> Loss:
    def build(parameters: Parameters, seed: int) -> BaseEstimator:
        weighting = TermWeighting("tfidf", min_df=2)
        classifier = make(cast(float, parameters["C"]))
        return Pipeline([("weighting", weighting), ("classifier", classifier)])

    subject = Subject(
        name=name, summary="", defaults={"C": 1.0}, build=build, suggest=lambda trial: {}
    )
    return Loss(name, subject, strengths)


def _above(subject: Subject) -> Subject:
    """The same for each threshold, in place of each class."""
    return msgspec.structs.replace(
        subject, build=lambda parameters, seed: _Above(subject.build(parameters, seed))
    )


def _hinge(C: float) -> LinearSVM:
    return LinearSVM(C, random_state=SEED)


def _logistic(C: float) -> DualLogisticRegression:
    return DualLogisticRegression(C, random_state=SEED)


_NBSVM: Final = get_subject("nbsvm").for_classes(len(SENTIMENTS))
LOSSES: Final = (
    Loss("nbsvm: one against the rest, squared hinge on log-count ratios", _NBSVM, C_OF_HINGE),
    Loss("cumulative, squared hinge on log-count ratios", _above(_NBSVM), C_OF_HINGE),
    _on_tfidf("one against the rest, squared hinge", _hinge, *C_OF_HINGE),
    _on_tfidf("one against the rest, logistic", _logistic, *C_OF_LOGISTIC),
    _on_tfidf(
        "joint hinge (Crammer and Singer)",
        lambda C: LinearSVC(C=C, multi_class="crammer_singer", tol=0.01, random_state=SEED),
        *C_OF_HINGE,
    ),
    _on_tfidf(
        "multinomial logistic",
        lambda C: LogisticRegression(C=C, max_iter=100, tol=1e-3),
        *C_OF_LOGISTIC,
    ),
    _on_tfidf("cumulative, squared hinge", lambda C: _Above(_hinge(C)), *C_OF_HINGE),
    _on_tfidf("cumulative, logistic", lambda C: _Above(_logistic(C)), *C_OF_LOGISTIC),
    _on_tfidf(
        "cumulative, logistic, one set of weights",
        lambda C: _Thresholds(_logistic(C)),
        *C_OF_LOGISTIC,
    ),
)


class _Judged(NamedTuple):
    """What came of a loss on one task."""

    C: float
    chosen_by: float
    """Log loss on validation texts."""
    test: Metrics
    seconds: float
    """Of the last fit, calibration included."""


def losses(contest: Contest) -> Iterator[Result]:
    """Every loss on every task, and whether the default is the best by validation."""
    for task in tasks(contest.data):
        counts = HashedNgramVectorizer(**msgspec.structs.asdict(VECTORIZER)).transform(task.texts)
        data = Labelled(counts, task.y, task.classes)
        found = {}
        for loss in LOSSES:
            contest.say(f"{task.name}: {loss.name}")
            found[loss.name] = _judged(loss, data)
        yield from _compared(task, found)


def _judged(loss: Loss, data: Labelled) -> _Judged:
    tested = held_out(data.labels.size, _SHARE, SEED)
    train, test = data[~tested], data[tested]
    looked_at = held_out(train.labels.size, _SHARE, SEED + 1)

    def by_validation(C: float) -> float:
        return _fitted(loss, C, train[~looked_at], train[looked_at]).log_loss

    chosen_by, C = min((by_validation(C), C) for C in loss.strengths)
    started = perf_counter()
    metrics = _fitted(loss, C, train, test)
    return _Judged(C, chosen_by, metrics, perf_counter() - started)


def _fitted(loss: Loss, C: float, train: Labelled, test: Labelled) -> Metrics:
    parameters = loss.subject.parameters({"C": C})
    classifier = fit_classifier(loss.subject, parameters, SEED, train, calibrated=True)
    return evaluate(test.labels, classifier.predict_proba(test.counts), test.classes)


def _compared(task: Task, found: dict[str, _Judged]) -> list[Result]:
    """A row for each loss; the first one is that of the default subject."""
    least = min(judged.chosen_by for judged in found.values())
    default = LOSSES[0].name
    return [
        Result(
            what=f"{task.name}, accuracy: {name}",
            unit="%",
            ours=judged.test.accuracy,
            target="best by validation" if name == default else "",
            reached=judged.chosen_by == least if name == default else None,
            note=f"validation log loss {judged.chosen_by:.4f}, C {judged.C:g}; "
            f"test macro F1 {100 * judged.test.f1_macro:.1f} %, "
            f"log loss {judged.test.log_loss:.4f}, MAE {judged.test.mae:.3f}, "
            f"kappa {judged.test.kappa:.3f}; {judged.seconds:.1f} s",
        )
        for name, judged in found.items()
    ]

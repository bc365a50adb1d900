"""Training that starts from another model: `olens train --from`, `olens tune --from`.

How it learns is told in `pipelines.training.adaptation`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from pipelines.config.params import Vectorizer
from pipelines.errors import TrainingError
from pipelines.labels import Classes
from pipelines.text.row_blocks import RowBlocks
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.adaptation import (
    LOG_ODDS,
    Adaptation,
    Kind,
    Plan,
    Rows,
    adapt,
    all_plans,
    scratch_plans,
)
from pipelines.training.features import Labelled
from pipelines.training.subjects import Parameters, Subject, Value
from pipelines.training.weight_table import Terms, class_table_classifier, table_classifier

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

CAN_START: Final = "nbsvm"
"""The subject whose solver can add to the margins of another model."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A linear model to start from, as one table.

    Attributes
    ----------
    name : str
    vectorizer : Vectorizer
        Its feature space, in which the new model is as well.
    classes : Classes
    terms, weights, norms, bias, slope, offset
        See `pipelines.inference.linear_scorer.LinearScorer`. Of more than two classes, `bias` has
        shape (n_classes,), and weights and bias add up to 0 over the classes.
    """

    name: str
    vectorizer: Vectorizer
    classes: Classes
    terms: Terms
    weights: NDArray[np.float32]
    norms: NDArray[np.float32]
    bias: float | NDArray[np.float64]
    slope: float
    offset: float

    def check_classes(self, classes: Classes) -> None:
        """Refuse texts of other classes.

        Raises
        ------
        TrainingError
            Which names both.
        """
        if classes != self.classes:
            raise TrainingError(
                f"The classes are {_named(classes)}, and {self.name} has {_named(self.classes)}. "
                "Both must be the same; leave --from out"
            )

    def hashed(self) -> HashedNgramVectorizer:
        """What counts n-grams in its feature space."""
        return HashedNgramVectorizer(**msgspec.structs.asdict(self.vectorizer))

    def features(self, counts: csr_matrix) -> csr_matrix:
        """What the weights are multiplied with: the margin is ``features @ weights + bias``.

        Parameters
        ----------
        counts : csr_matrix, shape (n, 2 ** bits)

        Returns
        -------
        csr_matrix of float32, shape (n, 2 ** bits)
        """
        values = np.ones(counts.nnz, dtype=np.float32)
        if self.terms == "count":
            values[:] = counts.data
        elif self.terms == "log_count":
            values[:] = 1 + np.log(counts.data)
        entries = np.diff(counts.indptr)
        lengths = values.astype(np.float64)
        if self.norms.size:
            lengths *= self.norms[counts.indices]
        owners = np.repeat(np.arange(entries.size), entries)
        lengths = np.sqrt(np.bincount(owners, lengths**2, minlength=entries.size))
        lengths[lengths == 0] = np.inf
        values /= lengths[owners].astype(np.float32)
        if self.norms.size:
            # Tf-idf leaves out what it has not seen: nothing can be learnt about it.
            values[self.norms[counts.indices] == 0] = 0
        return csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)

    def rows(
        self,
        counts: csr_matrix,
        labels: NDArray[np.generic],
        possible: NDArray[np.bool_] | None = None,
    ) -> tuple[Rows, NDArray[np.intp]]:
        """Labelled rows to learn from, and the bucket of each of their columns.

        Of two classes, `possible` is not looked at, as in training from scratch.
        """
        features = self.features(counts)
        # The logits of the start; a slope below 0 is that of a model worse than chance.
        logits = self.slope * (features @ self.weights + self.bias) + self.offset
        column_of = np.zeros(features.shape[1], dtype=np.int32)
        column_of[features.indices] = 1
        buckets = np.flatnonzero(column_of)
        column_of[buckets] = np.arange(buckets.size)
        compact = (features.data, column_of[features.indices], features.indptr)
        features = csr_matrix(compact, shape=(labels.size, buckets.size))
        told = None if self.classes.two else possible
        return Rows(features, logits.astype(np.float64) / LOG_ODDS, labels, told), buckets

    def extended(
        self, found: Adaptation, buckets: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], float | NDArray[np.float64]]:
        """Weights and bias of the start with what was learnt on the columns `buckets`."""
        scale = found.plan.scale / LOG_ODDS
        weights = (scale * self.slope * self.weights).astype(np.float32)
        weights[buckets] += found.difference
        weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
        return weights, scale * (self.slope * self.bias + self.offset) + found.bias


class StartingSVM(ClassifierMixin, BaseEstimator):
    """A support vector machine whose margins are added to those of another model.

    Parameters
    ----------
    start : Start
    scale, C, ratios : float, float and bool, optional
        See `pipelines.training.adaptation.Plan`; what is None is chosen by cross-validation.
    random_state : int

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
    plan_ : Plan
    classifier_ : SigmoidCalibrated or SoftmaxCalibrated
        Old and new weights in one table, calibrated; it answers the names of the start's classes.

    Notes
    -----
    Not good for texts in another language than the start's: it then knows none of their words.
    """

    def __init__(
        self,
        start: Start,
        scale: float | None = None,
        C: float | None = None,
        ratios: bool | None = None,
        random_state: int = 0,
    ) -> None:
        self.start = start
        self.scale = scale
        self.C = C
        self.ratios = ratios
        self.random_state = random_state

    def fit(self, X: csr_matrix, y: ArrayLike, possible: NDArray[np.bool_] | None = None) -> Self:
        """Fit on counts `X`, shape (n, 2 ** bits), with labels `y`, shape (n,).

        `possible`, shape (n, n_classes), says which classes a row could have had; None: all.
        """
        self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        n_classes = len(self.start.classes.names)
        if self.classes_.size > n_classes:
            raise ValueError(f"it knows {n_classes} classes, and these are {self.classes_.size}")
        if isinstance(X, RowBlocks):
            raise TrainingError(
                f"The features of {X.shape[0]:,} texts do not fit into training.memory of the "
                "settings, and what starts from another model needs all of them in memory. Raise "
                "it, or leave --from out"
            )
        rows, buckets = self.start.rows(X, labels, possible)
        found = adapt(rows, self.random_state, self._plans(labels.size))
        weights, bias = self.start.extended(found, buckets)
        self.plan_ = found.plan
        table = (self.start.hashed(), self.start.terms)
        if self.start.classes.two:
            self.classifier_ = table_classifier(
                *table, weights, self.start.norms, float(bias), found.slope, float(found.offset)
            )
        else:
            logits = (found.slope * weights).astype(np.float32)
            biases = np.ravel(found.slope * bias + found.offset).tolist()
            self.classifier_ = class_table_classifier(
                *table, logits, self.start.norms, biases, self.start.classes
            )
        return self

    def predict_proba(self, X: csr_matrix) -> NDArray[np.float64]:
        """Probabilities of the classes for counts `X`, shape (n, n_classes)."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    def predict(self, X: csr_matrix) -> NDArray[np.generic]:
        """Labels of counts `X`, shape (n,)."""
        check_is_fitted(self)
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), axis=1)])

    def _plans(self, n: int) -> list[Plan]:
        """The plans for `n` rows that agree with what is given."""
        for name in ("scale", "C"):
            value = getattr(self, name)
            if not (value is None or (isinstance(value, int | float) and 0 <= value < np.inf)):
                raise ValueError(f"{name} must be 0 or more, not {value!r}")
        if self.ratios not in (None, False, True):
            raise ValueError(f"ratios must be true or false, not {self.ratios!r}")
        given = {
            name: value
            for name in ("scale", "C", "ratios")
            if (value := getattr(self, name)) is not None
        }
        plans = all_plans(len(self.start.classes.names), n)
        return list(dict.fromkeys(msgspec.structs.replace(plan, **given) for plan in plans))


def starting_from(start: Start, subject: str) -> Subject:
    """The subject that adds to `start`.

    Raises
    ------
    TrainingError
        If `subject` is not the one that can.
    """
    if subject != CAN_START:
        raise TrainingError(
            f"The subject {subject} cannot start from another model, only {CAN_START} can: "
            f"--subject {CAN_START}"
        )
    return Subject(
        name=f"{CAN_START} from {start.name}",
        summary=f"support vector machine added to {start.name}",
        defaults={"scale": None, "C": None, "ratios": None},
        build=partial(_build, start),
        suggest=_suggest,
        vectorizer=start.vectorizer,
        choose=partial(_choose, start),
        rivals={
            start.name: msgspec.structs.asdict(Plan(1.0, 0.0)),
            "from scratch": msgspec.structs.asdict(scratch_plans(len(start.classes.names))[-1]),
        },
    )


def _named(classes: Classes) -> str:
    """The classes for people."""
    return ", ".join(classes.names) + ("" if classes.ordered else ", without an order")


def kind_of(start: Start | None, parameters: Parameters) -> Kind | None:
    """What the parameters of a subject that starts from `start` come to."""
    return Plan(**cast("dict[str, Any]", parameters)).kind if start else None


def _build(start: Start, parameters: Parameters, seed: int) -> StartingSVM:
    return StartingSVM(start, **cast("dict[str, Any]", parameters), random_state=seed)


def _suggest(trial: BaseTrial) -> dict[str, Value]:
    return {
        "scale": trial.suggest_categorical("scale", [0.0, 0.5, 1.0, 2.0]),
        "C": trial.suggest_categorical("C", [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 12.0, 30.0]),
        "ratios": trial.suggest_categorical("ratios", [False, True]),
    }


def _choose(start: Start, parameters: Parameters, seed: int, data: Labelled) -> dict[str, Value]:
    """The parameters, those chosen by cross-validation on `data` that are None."""
    try:
        fitted = _build(start, parameters, seed).fit(data.counts, data.labels, data.possible)
    except ValueError as error:
        raise TrainingError(f"{CAN_START} from {start.name} cannot be fitted: {error}") from error
    return msgspec.structs.asdict(fitted.plan_)

"""One weight for each bucket, as the scikit-learn classifier that a saved model holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.labels import Classes
    from pipelines.text.vectorizer import HashedNgramVectorizer
    from pipelines.training.calibration import SigmoidCalibrated, SoftmaxCalibrated

Terms = Literal["presence", "count", "log_count"]
"""What an n-gram that occurs c times counts: 1, c or 1 + log c."""

_SCHEMES: Final[dict[Terms, str]] = {
    "presence": "binary",
    "count": "count",
    "log_count": "tfidf",
}


def class_table_classifier(
    vectorizer: HashedNgramVectorizer,
    terms: Terms,
    weights: NDArray[np.float32],
    norms: NDArray[np.float32],
    biases: Sequence[float],
    classes: Classes,
) -> SoftmaxCalibrated:
    """A fitted classifier of the counts of `vectorizer` for more than two classes.

    The arguments are those of `pipelines.inference.linear_scorer.LinearScorer`.
    """
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import TermWeighting
    from pipelines.training.calibration import SoftmaxCalibrated
    from pipelines.training.linear import LinearSVM
    from pipelines.training.one_vs_rest import OneVsRest

    weighting, machines = TermWeighting(_SCHEMES[terms]), OneVsRest(LinearSVM())
    calibrated = SoftmaxCalibrated(
        Pipeline([("weighting", weighting), ("classifier", machines)]),
        classes.names,
        classes.ordered,
    )
    # As in `table_classifier`: fitted on a word for each class, then all numbers are replaced.
    words = [f"word{number}" for number in range(len(classes.names))]
    calibrated.fit(vectorizer.transform(words * 2), [*classes.names] * 2)
    weighting, machines = (step for _, step in calibrated.estimator_.steps)
    used = norms if norms.size else np.abs(weights).max(axis=1)
    weighting.buckets_ = np.flatnonzero(used).astype(np.int32)
    weighting.weights_ = (
        norms[weighting.buckets_]
        if norms.size
        else np.ones(weighting.buckets_.size, dtype=np.float32)
    )
    for number, machine in enumerate(machines.estimators_):
        machine.coef_ = (weights[weighting.buckets_, number] / weighting.weights_)[np.newaxis]
        machine.intercept_ = np.array([biases[number]])
        machine.n_features_in_ = weighting.buckets_.size
    calibrated.coef_ = np.eye(len(words))
    calibrated.intercept_ = np.zeros(len(words))
    return calibrated


def table_classifier(
    vectorizer: HashedNgramVectorizer,
    terms: Terms,
    weights: NDArray[np.float32],
    norms: NDArray[np.float32],
    bias: float,
    slope: float,
    offset: float,
) -> SigmoidCalibrated:
    """A fitted classifier of the counts of `vectorizer`, from NEGATIVE to POSITIVE.

    The arguments are those of `pipelines.inference.linear_scorer.LinearScorer`.
    """
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import TermWeighting
    from pipelines.training.calibration import SigmoidCalibrated
    from pipelines.training.linear import LinearSVM

    weighting, machine = TermWeighting(_SCHEMES[terms]), LinearSVM()
    calibrated = SigmoidCalibrated(Pipeline([("weighting", weighting), ("classifier", machine)]))
    # Fitted on two words, so that scikit-learn builds what a fitted one consists of; then every
    # number in it is replaced.
    calibrated.fit(vectorizer.transform(["good", "bad"] * 2), ["POSITIVE", "NEGATIVE"] * 2)
    weighting, machine = (step for _, step in calibrated.estimator_.steps)
    weighting.buckets_ = np.flatnonzero(norms if norms.size else weights).astype(np.int32)
    weighting.weights_ = (
        norms[weighting.buckets_]
        if norms.size
        else np.ones(weighting.buckets_.size, dtype=np.float32)
    )
    machine.coef_ = (weights[weighting.buckets_] / weighting.weights_)[np.newaxis]
    machine.intercept_ = np.array([bias])
    machine.n_features_in_ = weighting.buckets_.size
    calibrated.slope_, calibrated.offset_ = slope, offset
    return calibrated

"""A fitted pipeline -> the table that the fused scorer reads, if the pipeline is linear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.inference.linear import TABLE_FILE, LinearScorer, TableInfo
from pipelines.registry.entries import MODEL
from pipelines.training.persistence import load_pipeline

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import TermWeighting

_TERMS: Final[dict[str, Literal["presence", "count", "log_count"]]] = {
    "nb": "presence",
    "binary": "presence",
    "count": "count",
    "tfidf": "log_count",
}


def compile_model(entry: Path) -> None:
    """Make the cache entry in folder `entry` ready to serve.

    Loads ``entry/model`` once, which checks that it can be loaded safely, and writes the fused
    table beside it when the model is linear.

    Raises
    ------
    ModelError
        If the model cannot be used.
    """
    scorer = fuse(load_pipeline(entry / MODEL))
    if scorer is not None:
        scorer.save(entry / TABLE_FILE)


def fuse(pipeline: Pipeline) -> LinearScorer | None:
    """The fused scorer of a fitted pipeline; None if the pipeline is not linear.

    Linear is: `HashedNgramVectorizer`, then `SigmoidCalibrated` with a pipeline of `TermWeighting`
    and a classifier with ``coef_`` and ``intercept_``.
    """
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting
    from pipelines.training.calibration import SigmoidCalibrated

    if len(pipeline.steps) != 2:
        return None
    vectorizer, calibrated = (step for _, step in pipeline.steps)
    if not isinstance(vectorizer, HashedNgramVectorizer):
        return None
    if not isinstance(calibrated, SigmoidCalibrated):
        return None
    fitted = calibrated.estimator_
    if not isinstance(fitted, Pipeline) or len(fitted.steps) != 2:
        return None
    weighting, classifier = (step for _, step in fitted.steps)
    if not isinstance(weighting, TermWeighting):
        return None
    # Without a decision function, it is not the margin that was calibrated.
    if not all(hasattr(classifier, name) for name in ("coef_", "intercept_", "decision_function")):
        return None
    # A model worse than chance has a falling sigmoid. Its margin is turned round, so that what
    # adds to the margin always speaks for POSITIVE.
    sign = -1.0 if calibrated.slope_ < 0 else 1.0
    weights, norms = _tables(weighting, sign * classifier.coef_, vectorizer.bits)
    info = TableInfo(
        ngram_max=vectorizer.ngram_max,
        char_max=vectorizer.char_max,
        bits=vectorizer.bits,
        terms=_TERMS[weighting.scheme],
        bias=sign * float(classifier.intercept_[0]),
        slope=sign * calibrated.slope_,
        offset=calibrated.offset_,
    )
    return LinearScorer(info, weights, norms)


def _tables(
    weighting: TermWeighting, coef: NDArray[np.floating], bits: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and norms by bucket; see `LinearScorer`."""
    products = weighting.weights_.astype(np.float64) * np.asarray(coef, dtype=np.float64).ravel()
    weights = np.zeros(2**bits, dtype=np.float32)
    weights[weighting.buckets_] = products
    norms = np.zeros(2**bits if weighting.scheme == "tfidf" else 0, dtype=np.float32)
    if norms.size:
        norms[weighting.buckets_] = weighting.weights_
    for table in (weights, norms):
        table.flags.writeable = False  # as when it is mapped: one compiled version serves both
    return weights, norms

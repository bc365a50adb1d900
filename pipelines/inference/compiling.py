"""A fitted pipeline -> the table that the fused scorer reads, if the pipeline is linear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.cache.entries import MODEL
from pipelines.errors import CorruptModelError, InputError
from pipelines.files import require_room
from pipelines.inference.linear_scorer import TABLE_FILE, LinearScorer, TableInfo
from pipelines.labels import BINARY, Classes
from pipelines.training.persistence import classes_of, load_pipeline

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import TermWeighting
    from pipelines.training.calibration import SoftmaxCalibrated

_TERMS: Final[dict[str, Literal["presence", "count", "log_count"]]] = {
    "nb": "presence",
    "binary": "presence",
    "count": "count",
    "tfidf": "log_count",
}
MOST_BITS: Final = 26
"""A table of ``2 ** 26`` weights has 268 MB."""
_LARGEST: Final = 1e18
"""Far beyond what any model learns; the product of two is finite in float32."""


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
        require_room(entry, scorer.weights.nbytes + scorer.norms.nbytes, "the weight table")
        scorer.save(entry / TABLE_FILE)


def fuse(pipeline: Pipeline) -> LinearScorer | None:
    """The fused scorer of a fitted pipeline; None if the pipeline is not linear.

    Linear is: `HashedNgramVectorizer`, then `SigmoidCalibrated` or `SoftmaxCalibrated` with a
    pipeline of `TermWeighting` and a classifier with ``coef_`` and ``intercept_``, or with one
    for each class.

    Raises
    ------
    CorruptModelError
        If its numbers do not fit together, or become too large.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused
        scorer = _fuse(pipeline)
    if scorer is not None:
        check_table(scorer)
    return scorer


def _fuse(pipeline: Pipeline) -> LinearScorer | None:
    from pipelines.text.vectorizer import HashedNgramVectorizer
    from pipelines.training.calibration import SigmoidCalibrated, SoftmaxCalibrated

    if len(pipeline.steps) != 2:
        return None
    vectorizer, calibrated = (step for _, step in pipeline.steps)
    if not isinstance(vectorizer, HashedNgramVectorizer):
        return None
    if not isinstance(calibrated, SigmoidCalibrated | SoftmaxCalibrated):
        return None
    parts = _parts(calibrated.estimator_)
    if parts is None:
        return None
    for part in parts:
        _check_numbers(vectorizer.bits, part.weighting, part.coef)
    classes = classes_of(pipeline)
    info = TableInfo(
        ngram_max=vectorizer.ngram_max,
        char_max=vectorizer.char_max,
        bits=vectorizer.bits,
        language=msgspec.UNSET if vectorizer.language == "en" else vectorizer.language,
        terms=_TERMS[parts[0].weighting.scheme],
        bias=0.0,
        slope=1.0,
        offset=0.0,
    )
    if isinstance(calibrated, SoftmaxCalibrated):
        return _fuse_classes(info, parts, calibrated, classes)
    # A model worse than chance has a falling sigmoid. Its margin is turned round, so that what
    # adds to the margin always speaks for the second class.
    sign = -1.0 if calibrated.slope_ < 0 else 1.0
    if len(parts) != 1:
        raise CorruptModelError("The model has several margins and one sigmoid")
    weighting, coef, bias = parts[0]
    info = msgspec.structs.replace(
        info,
        bias=sign * bias,
        slope=sign * calibrated.slope_,
        offset=calibrated.offset_,
        classes=msgspec.UNSET if classes == BINARY else classes,
    )
    weights, norms = _tables(weighting, sign * coef, vectorizer.bits)
    return LinearScorer(info, weights, norms)


class _Part(NamedTuple):
    """A linear function of weighted terms."""

    weighting: TermWeighting
    coef: NDArray[np.floating]
    bias: float


def _parts(fitted: BaseEstimator) -> list[_Part] | None:
    """The linear functions that a fitted classifier consists of; None if it is not linear."""
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import TermWeighting
    from pipelines.training.one_vs_rest import OneVsRest

    if isinstance(fitted, OneVsRest):
        found = [_parts(each) for each in fitted.estimators_]
        return None if None in found else [part for parts in found for part in parts or ()]
    if not isinstance(fitted, Pipeline) or len(fitted.steps) != 2:
        return None
    weighting, classifier = (step for _, step in fitted.steps)
    if not isinstance(weighting, TermWeighting):
        return None
    each = classifier.estimators_ if isinstance(classifier, OneVsRest) else [classifier]
    # Without a decision function, it is not the margin that was calibrated.
    wanted = ("coef_", "intercept_", "decision_function")
    if not all(hasattr(one, name) for one in each for name in wanted):
        return None
    return [
        _Part(weighting, coef, float(bias))
        for one in each
        for coef, bias in zip(np.atleast_2d(one.coef_), np.ravel(one.intercept_), strict=True)
    ]


def _fuse_classes(
    info: TableInfo, parts: list[_Part], calibrated: SoftmaxCalibrated, classes: Classes
) -> LinearScorer | None:
    """One table of the logits of all classes: of what the parts add up to, as it is calibrated."""
    first = parts[0].weighting
    same = all(part.weighting is first for part in parts)
    if first.scheme == "tfidf" and not same:
        return None  # a text would have several lengths
    if calibrated.coef_.shape != (len(calibrated.classes_), len(parts)):
        raise CorruptModelError("The model has not one calibrated margin for each class")
    weights = np.zeros((2**info.bits, len(calibrated.classes_)), dtype=np.float32)
    for part, column in zip(parts, calibrated.coef_.T, strict=True):
        products = part.weighting.weights_.astype(np.float64) * np.asarray(part.coef, np.float64)
        weights[part.weighting.buckets_] += (products[:, np.newaxis] * column).astype(np.float32)
    biases = calibrated.coef_ @ [part.bias for part in parts] + calibrated.intercept_
    weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
    return LinearScorer(
        msgspec.structs.replace(info, classes=classes, biases=tuple(biases.tolist())),
        weights,
        _norms(first, info.bits),
    )


def as_pipeline(scorer: LinearScorer) -> Pipeline:
    """The scikit-learn pipeline, from raw text to calibrated probability, of a fused scorer.

    `fuse` makes the same scorer of it again.

    Raises
    ------
    InputError
        If it has two classes other than `NEGATIVE` and `POSITIVE`.
    """
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import HashedNgramVectorizer
    from pipelines.training.weight_table import class_table_classifier, table_classifier

    if scorer.classes.two and scorer.classes != BINARY:
        raise InputError("a table of two classes but negative and positive stays a table")
    info = scorer.info
    vectorizer = HashedNgramVectorizer(info.ngram_max, info.bits, info.char_max, scorer.language)
    table = (vectorizer, info.terms, scorer.weights, scorer.norms)
    if scorer.classes.two:
        classifier = table_classifier(*table, info.bias, info.slope, info.offset)
    else:
        classifier = class_table_classifier(*table, info.biases or (), scorer.classes)
    return Pipeline([("vectorizer", vectorizer), ("classifier", classifier)])


def _check_numbers(bits: int, weighting: TermWeighting, coef: NDArray[np.floating]) -> None:
    """Refuse a model whose arrays do not fit together: its file may come from anybody.

    Raises
    ------
    CorruptModelError
        Saying what does not fit.
    """
    buckets, weights = np.asarray(weighting.buckets_), np.asarray(weighting.weights_)
    if not isinstance(bits, int) or not 1 <= bits <= MOST_BITS:
        raise CorruptModelError(f"The model has 2^{bits} buckets; at most 2^{MOST_BITS} are usual")
    if buckets.dtype.kind not in "iu" or buckets.ndim != 1 or weights.shape != buckets.shape:
        raise CorruptModelError("The model has no weight for each of its buckets")
    if np.size(coef) != buckets.size or np.unique(buckets).size != buckets.size:
        raise CorruptModelError("The model has no coefficient for each of its buckets")
    if buckets.size and not 0 <= buckets.min() <= buckets.max() < 2**bits:
        raise CorruptModelError("The model has buckets that do not exist")
    if not (np.isfinite(weights).all() and np.isfinite(np.asarray(coef, np.float64)).all()):
        raise CorruptModelError("The model has weights that are not numbers")


def check_table(scorer: LinearScorer) -> None:
    """Refuse a table with numbers that are none, or only make an answer of their text infinite.

    Raises
    ------
    CorruptModelError
        If it has some.
    """
    info = scorer.info
    facts = np.array([info.bias, info.slope, info.offset, *(info.biases or ())])
    for numbers in (facts, scorer.weights, scorer.norms):
        # Written so that it is false for NaN.
        if numbers.size and not -_LARGEST <= numbers.min() <= numbers.max() <= _LARGEST:
            raise CorruptModelError("The model has weights that no training leads to")


def _tables(
    weighting: TermWeighting, coef: NDArray[np.floating], bits: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and norms by bucket; see `LinearScorer`."""
    products = weighting.weights_.astype(np.float64) * np.asarray(coef, dtype=np.float64).ravel()
    weights = np.zeros(2**bits, dtype=np.float32)
    weights[weighting.buckets_] = products
    weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
    return weights, _norms(weighting, bits)


def _norms(weighting: TermWeighting, bits: int) -> NDArray[np.float32]:
    norms = np.zeros(2**bits if weighting.scheme == "tfidf" else 0, dtype=np.float32)
    if norms.size:
        norms[weighting.buckets_] = weighting.weights_
    norms.flags.writeable = False
    return norms

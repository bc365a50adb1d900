"""From the labels so far to a model, in a moment.

Negative and positive start from another model, as `olens adapt` does. Other classes are learnt from
the labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.config.params import Vectorizer
from pipelines.errors import TrainingError
from pipelines.inference.adapting import LabelledTexts
from pipelines.inference.compiling import as_pipeline, fuse
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.labels import BINARY, Classes
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.adaptation import LEAST_ROWS, LEAST_ROWS_OF_A_CLASS, Kind, Plan
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import Value, get_subject

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SEED: Final = 42
_SUBJECT: Final = "nbsvm"
_VECTORIZER: Final = Vectorizer(ngram_max=2, bits=20)
"""Of models without a start: a few hundred texts have no room for more n-grams."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A model that has learnt from labels."""

    scorer: LinearScorer
    kind: Kind
    parameters: dict[str, Value]
    vectorizer: Vectorizer
    pipeline: Pipeline
    plans: Sequence[Plan] | None = None
    """How it was learnt: a fit on other texts need not choose again."""


def fit(
    texts: Sequence[str],
    labels: NDArray[np.int8],
    classes: Classes,
    start: LinearScorer | None,
    plans: Sequence[Plan] | None = None,
) -> Fitted:
    """Learn from labelled texts.

    Parameters
    ----------
    texts : sequence of n str
    labels : int8 array, shape (n,)
        Numbers of `classes`.
    classes : Classes
    start : LinearScorer or None
        The model to start from; it is used for negative and positive only.
    plans : sequence of Plan, optional
        Ways to start from it; by default all.

    Raises
    ------
    TrainingError
        If there are too few texts; `missing` says which.
    """
    if too_few := missing(labels, classes):
        raise TrainingError(too_few)
    if classes == BINARY and start is not None:
        return _adapt(texts, labels, start, plans)
    counts = HashedNgramVectorizer(**msgspec.structs.asdict(_VECTORIZER)).transform(list(texts))
    subject = get_subject(_SUBJECT).for_classes(len(classes.names))
    data = Labelled(counts, labels, classes)
    pipeline = fit_pipeline(subject, subject.defaults, SEED, _VECTORIZER, data)
    scorer = fuse(pipeline)
    assert scorer is not None, "nbsvm is linear"
    return Fitted(
        scorer=scorer,
        kind="scratch",
        parameters=subject.defaults,
        vectorizer=_VECTORIZER,
        pipeline=pipeline,
    )


def _adapt(
    texts: Sequence[str],
    labels: NDArray[np.int8],
    start: LinearScorer,
    plans: Sequence[Plan] | None,
) -> Fitted:
    model = LabelledTexts(start, texts, labels == 1).adapt(SEED, plans)
    info, plan = model.scorer.info, model.adaptation.plan
    return Fitted(
        scorer=model.scorer,
        kind=plan.kind,
        parameters=msgspec.structs.asdict(plan),
        vectorizer=Vectorizer(
            ngram_max=info.ngram_max,
            bits=info.bits,
            char_max=info.char_max,
            language=model.scorer.language,
        ),
        pipeline=as_pipeline(model.scorer),
        plans=(plan,),
    )


def missing(labels: NDArray[np.int8], classes: Classes) -> str:
    """Which labels a model still needs before it can learn; empty if there are enough."""
    counts = np.bincount(labels, minlength=len(classes.names))
    rare = [
        name for name, n in zip(classes.names, counts, strict=True) if n < LEAST_ROWS_OF_A_CLASS
    ]
    if rare:
        return f"It learns from {LEAST_ROWS_OF_A_CLASS} texts of each class on."
    if labels.size < LEAST_ROWS:
        return f"It learns from {LEAST_ROWS} texts on; these are {labels.size}."
    return ""

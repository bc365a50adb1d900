"""What serves: texts in, labels and probabilities out, whatever the model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from pipelines.inference.explaining import Explanation

NEGATIVE: Final = "NEGATIVE"
POSITIVE: Final = "POSITIVE"

TABLE_FILE: Final = "scorer.safetensors"
PACKED_FILE: Final = "packed.safetensors"
MODEL_FOLDER: Final = "model"


class Scorer(Protocol):
    """The one interface of served models. Safe to call from several threads."""

    kind: str
    """``linear`` (one compiled pass) or ``pipeline`` (scikit-learn)."""

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """Labels (`NEGATIVE` or `POSITIVE`) and probabilities of `POSITIVE`, shape (n,).

        Every string has an answer: the empty one, one of 10 MB, one with lone surrogates.

        Raises
        ------
        InputError
            If `texts` is not a sequence of strings.
        """
        ...

    def explain(self, text: str) -> Explanation:
        """The answer to one text, and what its words and sentences contribute to it.

        Exact for a linear model; for others words are left out to see what changes. As with
        `predict`, every string has an answer.
        """
        ...


class PipelineScorer:
    """Serves a model that is not linear through its scikit-learn pipeline."""

    kind = "pipeline"

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """See `Scorer.predict`."""
        if len(texts) == 0:
            return [], np.empty(0)
        probabilities = np.asarray(self._pipeline.predict_proba(texts)[:, 1], dtype=np.float64)
        return labels_of(probabilities), probabilities

    def explain(self, text: str) -> Explanation:
        """See `Scorer.explain`."""
        from pipelines.inference.explaining import explain_by_occlusion

        return explain_by_occlusion(self, text)


def labels_of(probabilities: NDArray[np.float64]) -> list[str]:
    """`POSITIVE` where the probability is above one half."""
    return [POSITIVE if probability > 0.5 else NEGATIVE for probability in probabilities.tolist()]


def load_scorer(entry: Path) -> Scorer:
    """Open the cache entry, or the base model, in folder `entry`.

    For a linear model this maps its weight table into memory and imports neither MLflow nor
    scikit-learn.

    Raises
    ------
    ModelError
        If the entry cannot be used; the message says why.
    """
    table = entry / TABLE_FILE
    if table.is_file():
        from pipelines.inference.linear import LinearScorer

        return LinearScorer.open(table)
    packed = entry / PACKED_FILE
    if packed.is_file():
        from pipelines.inference.packing import unpack

        return unpack(packed)
    from pipelines.training.persistence import load_pipeline

    return PipelineScorer(load_pipeline(entry / MODEL_FOLDER))

"""The scorer of models that are not linear: their scikit-learn pipeline itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.inference.explaining import explain_by_occlusion
from pipelines.inference.explanation import Explanation
from pipelines.inference.verdicts import labels_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


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
        return explain_by_occlusion(self, text)

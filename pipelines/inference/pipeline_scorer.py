"""The scorer of models that are not linear: their scikit-learn pipeline itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.inference.evidence import CHANCE, Judgement, count_words, judge_with
from pipelines.inference.explaining import explain_by_occlusion
from pipelines.inference.explanation import Explanation
from pipelines.text.offsets import locate_tokens
from pipelines.training.persistence import classes_of, language_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_NOTHING: Final = np.zeros(2, dtype=np.float32)


class PipelineScorer:
    """Serves a model that is not linear through its scikit-learn pipeline."""

    kind = "pipeline"

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.classes = classes_of(pipeline)
        self.language = language_of(pipeline)
        self._judge_with = judge_with(self.classes)
        self._seen = _seen(pipeline)

    def __reduce__(self) -> tuple[type[PipelineScorer], tuple[Pipeline]]:
        return type(self), (self._pipeline,)

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """See `Scorer.predict`."""
        each = np.empty((0, len(self.classes.names)))
        if len(texts) > 0:
            each = np.asarray(self._pipeline.predict_proba(texts), dtype=np.float64)
        probabilities = self.classes.compact(each)
        return self.classes.answers(probabilities), probabilities

    def judge(self, texts: Sequence[str]) -> list[Judgement]:
        """See `Scorer.judge`."""
        _, probabilities = self.predict(texts)
        return [
            self._judgement(str(text), probability)  # of Arrow, they are scalars
            for text, probability in zip(texts, probabilities.tolist(), strict=True)
        ]

    def _judgement(self, text: str, probability: Any) -> Judgement:
        """The answer at a probability, or at a list of those of more than two classes."""
        tokens = locate_tokens(text)
        n, normalised = tokens.hashes.size, tokens.normalised
        if self._seen is None:
            words, _ = count_words(normalised, normalised.size, tokens.hashes, n, 1, _NOTHING, 0.0)
            return self._judge_with(probability, words, None)
        bits = self._seen.size.bit_length() - 1
        counts = count_words(normalised, normalised.size, tokens.hashes, n, bits, self._seen, 0.0)
        return self._judge_with(probability, *counts)

    def explain(self, text: str) -> Explanation:
        """See `Scorer.explain`."""
        return explain_by_occlusion(self, text)


def _seen(pipeline: Pipeline) -> NDArray[np.float32] | None:
    """1 for each bucket that the model uses, else 0, shape (2 ** bits,).

    None if they cannot be told, or are so many that a bucket in use says nothing of a word.
    """
    try:
        bits = pipeline[0].bits
        buckets = pipeline[-1].estimator_[0].buckets_
    except (AttributeError, TypeError, IndexError):
        return None
    if len(buckets) > CHANCE * 2**bits:
        return None
    seen = np.zeros(2**bits, dtype=np.float32)
    seen[buckets] = 1
    return seen

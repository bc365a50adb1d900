"""Why a linear model of several classes answered as it did: its answer against the runner-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.inference.contributions import Contributions
from pipelines.inference.evidence import Judgement
from pipelines.inference.explaining import explain_linear
from pipelines.inference.explanation import Explanation, PerClass, Poles
from pipelines.text.offsets import LocatedTokens

if TYPE_CHECKING:
    from pipelines.inference.linear_scorer import LinearScorer


def explain_classes(scorer: LinearScorer, text: str) -> Explanation:
    """Take the margins of `text` apart, exactly. See `Scorer.explain` and `PerClass`."""
    poles = Poles.of(scorer.classes, scorer.judge([text])[0].each)
    contrast = _Contrast(scorer, poles)
    explanation = contrast.explain(text)
    parts = contrast.parts
    each = msgspec.structs.replace(
        cast(PerClass, explanation.per_class),
        margins=[part.margin for part in parts],
        biases=list(scorer.info.biases or ()),
        words=np.column_stack([part.tokens for part in parts]).tolist(),
    )
    return msgspec.structs.replace(explanation, per_class=each)


class _Contrast:
    """A scorer whose margin is the difference of those of two classes of another one."""

    kind = "linear"
    slope = 1.0
    threshold = 0.0

    def __init__(self, scorer: LinearScorer, poles: Poles) -> None:
        self._scorer = scorer
        self.poles = poles
        self.classes = scorer.classes
        self.language = scorer.language
        biases = scorer.info.biases or ()
        self.bias = biases[poles.high] - biases[poles.low]
        self.parts: list[Contributions] = []
        """Of the margin of each class, once a text has been explained."""

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        return self._scorer.predict(texts)

    def judge(self, texts: Sequence[str]) -> list[Judgement]:
        return self._scorer.judge(texts)

    def explain(self, text: str) -> Explanation:
        return explain_linear(self, text)

    def contributions(self, tokens: LocatedTokens) -> Contributions:
        self.parts = self._scorer.class_contributions(tokens)
        low, high = self.parts[self.poles.low], self.parts[self.poles.high]
        return Contributions(
            high.margin - low.margin, high.tokens - low.tokens, high.ngrams - low.ngrams
        )

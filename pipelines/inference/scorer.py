"""What serves: texts in, labels and probabilities out, whatever the model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.inference.explanation import Explanation


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

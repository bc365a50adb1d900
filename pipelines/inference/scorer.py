"""The interface of all models that serve: texts in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.config.params import Language
from pipelines.inference.evidence import Judgement
from pipelines.inference.explanation import Explanation
from pipelines.labels import Classes


class Scorer(Protocol):
    """The one interface of served models. Safe to call from several threads."""

    kind: str
    """``linear`` (one compiled pass) or ``pipeline`` (scikit-learn)."""
    classes: Classes
    language: Language
    """Of the texts that it learnt from; see `pipelines.text.languages`."""

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """Labels and probabilities.

        Of two classes, the probabilities are those of the second one, `POSITIVE`, shape (n,); of
        more, those of each class, shape (n, n_classes).

        Every string has an answer: the empty one, one of 10 MB, one with lone surrogates.

        Raises
        ------
        InputError
            If `texts` is not a sequence of strings.
        """
        ...

    def judge(self, texts: Sequence[str]) -> list[Judgement]:
        """The same, with how much of each text the model knows, and how strong that evidence is.

        Raises
        ------
        InputError
            As `predict`.
        """
        ...

    def explain(self, text: str) -> Explanation:
        """The answer to one text, and what its words and sentences contribute to it.

        Exact for a linear model; for others words are left out to see what changes. As with
        `predict`, every string has an answer.
        """
        ...

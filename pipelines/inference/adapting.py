"""A linear model that starts from another one, as one table.

How it learns is told in `pipelines.training.adaptation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.config.params import Vectorizer
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.training.adaptation import Adaptation, Plan, adapt
from pipelines.training.starting import Start

if TYPE_CHECKING:
    import polars as pl

_SAMPLE: Final = 1_000


class AdaptedModel(msgspec.Struct, frozen=True):
    """A model that learnt from labelled texts, and how."""

    scorer: LinearScorer
    adaptation: Adaptation


def as_start(scorer: LinearScorer, name: str) -> Start:
    """The scorer as training knows it."""
    info, weights = scorer.info, scorer.weights
    bias: float | NDArray[np.float64] = info.bias
    if not scorer.classes.two:
        # What all logits have in common says nothing of the classes.
        biases = np.array(info.biases)
        bias = biases - biases.mean()
        weights = weights - weights.mean(axis=1, keepdims=True)
    return Start(
        name=name,
        vectorizer=Vectorizer(
            ngram_max=info.ngram_max,
            bits=info.bits,
            char_max=info.char_max,
            language=scorer.language,
        ),
        classes=scorer.classes,
        terms=info.terms,
        weights=weights,
        norms=scorer.norms,
        bias=bias,
        slope=info.slope,
        offset=info.offset,
    )


class LabelledTexts:
    """Labelled texts, counted once in the n-grams of the model to start from.

    Parameters
    ----------
    scorer : LinearScorer
        The model to start from.
    texts : list or Series of n str
    labels : array, shape (n,)
        Numbers of the model's classes.
    """

    def __init__(
        self, scorer: LinearScorer, texts: Sequence[str] | pl.Series, labels: NDArray[np.generic]
    ) -> None:
        self._scorer = scorer
        self._start = as_start(scorer, "")
        known = [judged.known or 0.0 for judged in scorer.judge(list(texts[:_SAMPLE]))]
        self.known = sum(known) / max(len(known), 1)
        """Mean share of a text's words that the start knows, of the first texts."""
        counts = self._start.hashed().transform(texts)
        self.rows, self._buckets = self._start.rows(counts, labels)

    def adapt(
        self,
        seed: int,
        plans: Sequence[Plan] | None = None,
        only: NDArray[np.intp] | None = None,
    ) -> AdaptedModel:
        """Learn from all rows, or `only` from some.

        Raises
        ------
        TrainingError
            If there are too few of them.
        """
        found = adapt(self.rows if only is None else self.rows[only], seed, plans)
        weights, bias = self._start.extended(found, self._buckets)
        info = self._scorer.info
        if self._scorer.classes.two:
            info = msgspec.structs.replace(
                info, bias=float(bias), slope=found.slope, offset=float(found.offset)
            )
        else:
            biases = np.ravel(found.slope * bias + found.offset)
            info = msgspec.structs.replace(info, biases=tuple(biases.tolist()))
            weights = (found.slope * weights).astype(np.float32)
            weights.flags.writeable = False
        return AdaptedModel(LinearScorer(info, weights, self._scorer.norms), found)

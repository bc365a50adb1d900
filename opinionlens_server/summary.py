"""What the page says about a file as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest
from typing import Final

import msgspec

from opinionlens_server.inference import Prediction

BINS: Final = 20
"""Bars of the chart, from certainly negative to certainly positive."""
EXTREMES: Final = 3
"""Rows that are shown for either verdict."""
SHOWN_CHARACTERS: Final = 200
"""Of the text of such a row."""


class Extreme(msgspec.Struct, frozen=True, order=True):
    """A row that the model is very sure of; the earlier one of two equal ones is the larger."""

    confidence: float
    order: int
    text: str


class Summary(msgspec.Struct):
    """Counts over the rows of a file; grows with :meth:`add`."""

    rows: int = 0
    positive: int = 0
    negative: int = 0
    blank: int = 0
    bins: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    """Rows by the probability of POSITIVE."""
    most_positive: list[Extreme] = []
    most_negative: list[Extreme] = []
    model: str = ""

    def add(self, texts: Sequence[str], predictions: Sequence[Prediction | None]) -> None:
        """Count the next rows of the file."""
        positive, negative = [], []
        for text, found in zip(texts, predictions, strict=True):
            self.rows += 1
            if found is None:
                self.blank += 1
                continue
            self.model = found.model
            sure = Extreme(found.confidence, -self.rows, text[:SHOWN_CHARACTERS])
            if found.prediction == "POSITIVE":
                positive.append(sure)
                self.bins[_bin(found.confidence)] += 1
            else:
                negative.append(sure)
                self.bins[_bin(1 - found.confidence)] += 1
        self.positive += len(positive)
        self.negative += len(negative)
        self.most_positive = _surest(self.most_positive + positive)
        self.most_negative = _surest(self.most_negative + negative)


def _surest(rows: list[Extreme]) -> list[Extreme]:
    """The first of them, each text once."""
    first: dict[str, Extreme] = {}
    for row in rows:
        first.setdefault(row.text, row)
    return nlargest(EXTREMES, first.values())


def _bin(probability: float) -> int:
    return min(int(probability * BINS), BINS - 1)

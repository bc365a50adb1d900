"""Opinion lexicons: VADER's with its rules, AFINN's and Bing Liu's words, and idioms of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.base_model.sources import AFINN, BING_LIU
from pipelines.errors import MissingExtraError

IDIOMS: Final = Path(__file__).with_name("idioms.csv")
"""Written by hand for OpinionLens, from what is common in English."""

_AFINN_STRENGTH: Final = 4 / 5
"""From AFINN's scale, -5 to 5, to VADER's."""
_BING_LIU_STRENGTH: Final = 2.0


class Vader:
    """VADER's lexicon and rules (Hutto and Gilbert 2014), from the package `vaderSentiment`.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
        except ImportError:
            raise MissingExtraError("vaderSentiment", "bench") from None
        self._analyzer = SentimentIntensityAnalyzer()

    @property
    def words(self) -> dict[str, float]:
        """Words and emoticons with their strength, -4 to 4; none has 0."""
        return {word: float(value) for word, value in self._analyzer.lexicon.items() if value}

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """What the rules make of n texts, shape (n,), -1 to 1; 0 is no opinion."""
        found = (self._analyzer.polarity_scores(text)["compound"] for text in texts)
        return np.fromiter(found, np.float64, len(texts))


def load_words(vader: Vader, folder: Path) -> dict[str, float]:
    """The words of all lexicons with their strength, -4 to 4.

    A word that stands in several has the strength of the first: VADER's, AFINN's, Bing Liu's.

    Parameters
    ----------
    folder : Path
        See `pipelines.base_model.sources.real_data`.
    """
    return {**_bing_liu(folder), **_afinn(folder), **vader.words}


def load_idioms() -> dict[str, bool]:
    """Idioms and other expressions of several words, by whether they are positive."""
    rows = pl.read_csv(IDIOMS).select("expression", pl.col("polarity") == "positive")
    return dict(rows.iter_rows())


def _afinn(folder: Path) -> dict[str, float]:
    lines = (folder / AFINN).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if "\t" in line)
    return {word: _AFINN_STRENGTH * float(value) for word, value in pairs if float(value)}


def _bing_liu(folder: Path) -> dict[str, float]:
    return {
        word: sign * _BING_LIU_STRENGTH
        for sign, path in BING_LIU.items()
        for line in (folder / path).read_text(encoding="utf-8", errors="replace").splitlines()
        if (word := line.strip()) and not word.startswith(";")
    }

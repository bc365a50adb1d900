"""Labelled texts of more than two classes: airline tweets, the corpus, Amazon's stars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.labels import SENTIMENTS, Classes
from pipelines.text.normalise import normalise_column
from tests.benchmarks.contest import SEED

_CORPUS_ROWS: Final = 40_000
_STARS: Final = ("1", "2", "3", "4", "5")

C_OF_HINGE: Final = (0.1, 0.3, 1.0, 3.0)
C_OF_LOGISTIC: Final = (1.0, 3.0, 10.0, 30.0)
"""Values of C to choose from, by loss."""


class Task(NamedTuple):
    """Distinct texts and the numbers of their classes, shape (n,)."""

    name: str
    classes: Classes
    texts: NDArray[np.object_]
    y: NDArray[np.int8]

    def part(self, rows: NDArray[np.bool_]) -> Task:
        """Some of the texts."""
        return self._replace(texts=self.texts[rows], y=self.y[rows])


def tasks(data: Path) -> list[Task]:
    """The three of them."""
    return [airline(data), corpus(data), stars(data)]


def airline(data: Path) -> Task:
    """Tweets to airlines: negative, neutral, positive."""
    rows = pl.read_csv(data / "raw" / "Airline Tweets" / "Tweets.csv", infer_schema=False)
    return _task("airline", rows, "text", "airline_sentiment", SENTIMENTS)


def corpus(data: Path) -> Task:
    """Some texts of all sources of the corpus that have neutral ones."""
    rows = pl.read_parquet(data / "corpus" / "corpus.parquet", columns=["text", "label", "source"])
    with_neutral = rows.filter(pl.col("label") == "neutral")["source"].unique().to_list()
    rows = rows.filter(pl.col("source").is_in(with_neutral))
    rows = rows.sample(_CORPUS_ROWS, shuffle=True, seed=SEED)
    return _task("corpus", rows, "text", "label", SENTIMENTS)


def stars(data: Path) -> Task:
    """Amazon's reviews of food by their stars."""
    rows = pl.read_csv(data / "raw" / "Amazon Food Reviews" / "Reviews.csv", infer_schema=False)
    return _task("Amazon's stars", rows, "Text", "Score", _STARS)


def held_out(n: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Which of n rows are held out, evenly drawn."""
    return np.random.default_rng(seed).random(n) < share


def _task(name: str, rows: pl.DataFrame, text: str, label: str, names: Sequence[str]) -> Task:
    """Texts that stand in the rows once."""
    rows = rows.filter(pl.col(label).is_in(names))
    texts, _ = normalise_column(rows[text].fill_null(""))
    distinct = pl.DataFrame({"text": texts, "label": rows[label]}).unique(
        "text", keep="first", maintain_order=True
    )
    y = np.array([names.index(value) for value in distinct["label"]], dtype=np.int8)
    listed = np.array(distinct["text"].to_list(), dtype=object)
    return Task(name, Classes.declared(names, ordered=True), listed, y)

"""The data of the IMDB contest and the contestants, trained once and shared by its benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.config.params import Vectorizer
from pipelines.inference.compiling import fuse
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import Subject, get_subject
from tests.benchmarks import rivals
from tests.benchmarks.measuring import take_turns

if TYPE_CHECKING:
    from fasttext.FastText import _FastText
    from sklearn.pipeline import Pipeline

VECTORIZER = Vectorizer()
SEED = 42
FOR_WARMING_UP = 512
SKLEARN = {
    "scikit-learn trigram TF-IDF + LinearSVC": 1,
    "scikit-learn, the same with min_df 2": 2,
}
"""Its pipelines by name, with the least number of texts that an n-gram must stand in."""


class Texts(NamedTuple):
    """n texts and their labels, 0 negative and 1 positive, shape (n,)."""

    texts: list[str]
    labels: NDArray[np.int8]

    def head(self, n: int) -> Texts:
        """The first n."""
        return Texts(self.texts[:n], self.labels[:n])


class Trained(NamedTuple):
    """The contestants, and the median seconds that training took each."""

    ours: LinearScorer
    fasttext: _FastText
    sklearn: dict[str, Pipeline]
    seconds: dict[str, float]


def fit(subject: Subject, data: Texts) -> Pipeline:
    """Raw texts -> fitted, calibrated pipeline, as `olens train` does it in memory."""
    counts = HashedNgramVectorizer(**msgspec.structs.asdict(VECTORIZER)).transform(data.texts)
    labelled = Labelled(counts, data.labels)
    return fit_pipeline(subject, subject.defaults, SEED, VECTORIZER, labelled)


class Contest:
    """IMDB's official split, and our default subject, fastText and scikit-learn trained on it.

    Parameters
    ----------
    data : Path
        The folder of the real data.
    repetitions : int
        How often each training is timed.
    say : callable
        Told what is being done.
    """

    def __init__(self, data: Path, repetitions: int, say: Callable[[str], None]) -> None:
        self.data = data
        self.repetitions = repetitions
        self.say = say

    @cached_property
    def train(self) -> Texts:
        """The 25,000 official train texts."""
        return self._official("train")

    @cached_property
    def test(self) -> Texts:
        """The 25,000 official test texts."""
        return self._official("test")

    @cached_property
    def trained(self) -> Trained:
        """All contestants, trained and timed."""
        subject = get_subject("nbsvm")
        fit(subject, self.train.head(FOR_WARMING_UP))
        models: dict[str, object] = {}
        sklearns: dict[str, Pipeline] = {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.txt"

            def ours() -> None:
                models["ours"] = fuse(fit(subject, self.train))

            def fasttext() -> None:
                lines = rivals.fasttext_lines(self.train.texts)
                rivals.write_fasttext_file(path, lines, self.train.labels)
                models["fasttext"] = rivals.train_fasttext(path)

            def sklearn(name: str) -> None:
                pipeline = rivals.sklearn_pipeline(SKLEARN[name])
                sklearns[name] = pipeline.fit(self.train.texts, self.train.labels)

            self.say(f"training nbsvm and fastText, {self.repetitions} times in turn")
            seconds = take_turns({"ours": ours, "fasttext": fasttext}, self.repetitions)
            self.say("training scikit-learn's TF-IDF and LinearSVC")
            seconds |= take_turns({name: partial(sklearn, name) for name in SKLEARN}, 1)
        return Trained(**models, sklearn=sklearns, seconds=seconds)  # type: ignore[arg-type]

    def _official(self, split: str) -> Texts:
        reviews = pl.read_csv(
            self.data / "raw" / "IMDB Dataset" / "IMDB Dataset.csv"
        ).with_row_index("row")
        official = pl.read_csv(self.data / "benchmarks" / "imdb_official_split.csv")
        rows = official.filter(pl.col("split") == split).select(pl.col("row").cast(pl.UInt32))
        chosen = rows.join(reviews, on="row", how="left", maintain_order="left")
        labels = (chosen["sentiment"] == "positive").to_numpy().astype(np.int8)
        return Texts(chosen["review"].to_list(), labels)

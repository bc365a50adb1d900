"""Drift on texts that people wrote: the same domain, and another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from pipelines.config.params import Vectorizer
from pipelines.inference.compiling import fuse
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.inference.profiling import columns_of, profile_texts
from pipelines.labels import BINARY
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import get_subject
from pipelines.training.text_profile import Drift, TextProfile
from tests.support import real_data

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

WINDOW = 1_000
TEXTS = 5_000


@pytest.fixture(scope="module")
def films() -> tuple[LinearScorer, TextProfile]:
    """A model of film reviews and the profile of others."""
    reviews = pl.read_csv(real_data() / "raw" / "IMDB Dataset" / "IMDB Dataset.csv")
    reviews = reviews.sample(2 * TEXTS, shuffle=True, seed=0).rename({"review": "text"})
    vectorizer, subject = Vectorizer(ngram_max=2, bits=20), get_subject("nbsvm")
    train = reviews.head(TEXTS)
    counts = HashedNgramVectorizer(**msgspec.structs.asdict(vectorizer)).transform(train["text"])
    labels = (train["sentiment"] == "positive").to_numpy().astype(np.int8)
    pipeline = fit_pipeline(subject, subject.defaults, 0, vectorizer, Labelled(counts, labels))
    scorer = fuse(pipeline)
    assert scorer
    held_out = reviews.tail(TEXTS).with_columns(dataset=pl.lit("films"))
    return scorer, profile_texts(scorer, held_out)


def drifts(films: tuple[LinearScorer, TextProfile], texts: list[str]) -> Iterator[Drift]:
    """What is seen after every 1,000 texts."""
    scorer, profile = films
    columns = columns_of(scorer.judge(texts), BINARY.names)
    for start in range(0, len(texts) - WINDOW + 1, WINDOW):
        window = {name: values[start : start + WINDOW] for name, values in columns.items()}
        yield profile.compare(profile.count(window))


def test_100000_texts_of_the_same_domain_raise_nothing(
    films: tuple[LinearScorer, TextProfile], record_property: pytest.RecordProperty
) -> None:
    """IMDB has 50,000 reviews without a label; they come twice, in two orders."""
    path = real_data() / "benchmarks" / "imdb_unlabelled.parquet"
    reviews = pl.read_parquet(path)["text"]
    stream = [text for seed in (1, 2) for text in reviews.sample(50_000, shuffle=True, seed=seed)]
    found = list(drifts(films, stream))

    assert len(found) == 100
    highest = max(max(drift.psi.values()) for drift in found)
    record_property("measured", f"drift: the highest index of 100,000 texts is {highest:.3f}")
    assert [drift.features for drift in found if drift.features] == []


@pytest.mark.parametrize(
    ("file", "column"),
    [("Airline Tweets/Tweets.csv", "text"), ("Amazon Food Reviews/Reviews.csv", "Text")],
)
def test_texts_of_another_domain_are_seen_within_1000(
    films: tuple[LinearScorer, TextProfile], file: str, column: str
) -> None:
    path = real_data() / "raw" / Path(file)
    texts = pl.read_csv(path, columns=[column])[column].drop_nulls().head(WINDOW).to_list()
    (drift,) = drifts(films, texts)

    assert {"words", "known"} <= set(drift.features)

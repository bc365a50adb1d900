"""Wrong labels found: one label of twenty is flipped, and the most doubtful rows are looked at.

Both sides rank rows by cleanlab's label quality, on held-out probabilities of five folds: ours of
the models of `olens data doubts`, theirs of a scikit-learn pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.base_model.sources import CORPUS
from pipelines.labelling.doubts import (
    FOLDS,
    LabelledRows,
    Texts,
    distinct_texts,
    held_out_probabilities,
)
from pipelines.labels import BINARY
from tests.benchmarks.contest import SEED, Contest
from tests.benchmarks.results import Result

SOURCE: Final = "glassdoor_proscons"
FLIPPED: Final = 0.05
SEEDS: Final = 3
_MOST_ROWS: Final = 5_000

Labels = NDArray[np.int8]


def doubts(contest: Contest) -> list[Result]:
    """Precision at the number of flipped labels, on three data sets, three seeds each."""
    results = []
    for name, rows in _data(contest):
        contest.say(f"looking for flipped labels in {name}")
        texts, _ = distinct_texts(LabelledRows(name, rows, BINARY, "line", []))
        found = [_precisions(texts, seed) for seed in range(SEEDS)]
        ours, theirs, seconds, their_seconds = np.mean(found, axis=0)
        each = ", ".join(f"{100 * a:.1f}/{100 * b:.1f}" for a, b, *_ in found)
        results.append(
            Result(
                what=f"flipped labels among as many doubtful ones, {name}",
                unit="%",
                ours=float(ours),
                rival="cleanlab + scikit-learn",
                theirs=float(theirs),
                target="ahead",
                reached=bool(ours > theirs),
                note=f"{each}; {seconds:.1f} s against {their_seconds:.1f} s",
            )
        )
    return results


def _data(contest: Contest) -> Iterator[tuple[str, pl.DataFrame]]:
    raw = contest.data / "raw"
    airline = pl.read_csv(raw / "Airline Tweets" / "Tweets.csv")
    yield "airline", _binary(airline["text"], airline["airline_sentiment"])
    amazon = pl.read_csv(raw / "Amazon Food Reviews" / "Reviews.csv")
    score = pl.when(pl.col("Score") < 3).then(pl.lit("negative")).otherwise(pl.lit("positive"))
    yield "amazon", _binary(amazon["Text"], amazon.select(score).to_series())
    corpus = pl.read_parquet(contest.data / CORPUS, columns=["text", "label", "source"])
    corpus = corpus.filter(pl.col("source") == SOURCE)
    yield SOURCE, _binary(corpus["text"], corpus["label"])


def _binary(texts: pl.Series, labels: pl.Series) -> pl.DataFrame:
    codes = labels.replace_strict(
        {"negative": 0, "positive": 1}, default=None, return_dtype=pl.Int8
    )
    rows = pl.DataFrame({"text": texts, "label": codes}).drop_nulls()
    rows = rows.sample(min(rows.height, _MOST_ROWS), seed=SEED, shuffle=True)
    return rows.with_columns(line=pl.int_range(rows.height))


def _precisions(texts: Texts, seed: int) -> tuple[float, float, float, float]:
    """Ours and theirs, and the seconds that both took."""
    labels = texts.labels
    chosen = np.random.default_rng(seed).permutation(labels.size)[: round(FLIPPED * labels.size)]
    flipped = np.isin(np.arange(labels.size), chosen)
    noisy = np.where(flipped, 1 - labels, labels).astype(np.int8)
    changed = msgspec.structs.replace(texts, frame=texts.frame.with_columns(label=pl.Series(noisy)))
    start = perf_counter()
    ours = held_out_probabilities(changed, None)
    middle = perf_counter()
    theirs = _scikit_learn(texts.frame["text"].to_list(), noisy)
    end = perf_counter()
    return (
        _precision(noisy, ours, flipped),
        _precision(noisy, theirs, flipped),
        middle - start,
        end - middle,
    )


def _precision(
    noisy: Labels, probabilities: NDArray[np.float64], flipped: NDArray[np.bool_]
) -> float:
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(noisy.astype(np.int64), probabilities)
    return float(flipped[np.argsort(quality)[: flipped.sum()]].mean())


def _scikit_learn(texts: list[str], labels: Labels) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    found: NDArray[np.float64] = cross_val_predict(
        pipeline, texts, labels, cv=FOLDS, method="predict_proba"
    )
    return found

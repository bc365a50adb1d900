"""How far few labels go: a base model, from scratch and both together, on unseen sources.

The base model is made for this: it has seen none of the sources below, and no review of IMDB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.base_model.lexicons import IDIOMS, Vader
from pipelines.base_model.making import make_base
from pipelines.base_model.recipe import Recipe
from pipelines.base_model.sources import AFINN, BING_LIU, CORPUS
from pipelines.config.params import Params, load_params
from pipelines.config.settings import load_settings
from pipelines.files import fingerprint, sha256_of
from pipelines.inference.adapting import LabelledTexts
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.inference.packing import PACKED_FILE, unpack
from pipelines.labels import POSITIVE_FROM
from pipelines.text.tokens import TOKENS_VERSION
from pipelines.training.adaptation import LEAST_ROWS_OF_A_CLASS, Rows, adapt, scratch_plans
from pipelines.training.evaluation import evaluate
from tests.benchmarks.contest import SEED, Contest
from tests.benchmarks.results import Result

STUDIED: Final = (
    "animal_crossing",
    "booking_boston",
    "glassdoor_proscons",
    "gop_debate",
    "neobanks_app",
    "udemy_app",
)
CHOSEN_ON: Final = (
    "amazon_baby",
    "ba_headlines",
    "car_reviews",
    "mhealth_apps",
    "semeval_tweets",
    "steam_dbd",
)
"""Sources on which the ways to adapt were chosen; they are not measured here."""
WITHOUT: Final = (*STUDIED, *CHOSEN_ON, "imdb", "movie_reviews_nltk")

SIZES: Final = (20, 50, 200, 1_000)
SEEDS: Final = 10
_TESTED: Final = 2_000
_CALIBRATED_FROM: Final = 200
_MOST_ECE: Final = 0.05
_T: Final = 2.262
"""Student's t for 95 % and ten seeds."""

KINDS: Final = ("base", "scratch", "adapted")


class Measured(NamedTuple):
    """Of `KINDS`, seed by seed, shape (SEEDS, 3)."""

    accuracy: NDArray[np.float64]
    ece: NDArray[np.float64]


def adaptation(contest: Contest) -> list[Result]:
    """The study, the time that it takes, and IMDB's official test."""
    base = base_without(contest)
    measured = {
        (source, size): found
        for source in STUDIED
        for size, found in study(contest, base, source).items()
    }
    compared = [_compared(source, size, found) for (source, size), found in measured.items()]
    return [*compared, *_calibration(measured), _time(contest, base), _imdb(contest, base)]


def base_without(contest: Contest) -> LinearScorer:
    """The base model without the sources above; made once, and kept in the temporary folder."""
    recipe = Recipe(folds=3)  # for its calibration alone
    params = load_params(load_settings().root)
    folder = Path(tempfile.gettempdir()) / f"olens-bench-base-{_key(contest.data, recipe, params)}"
    if not (folder / PACKED_FILE).is_file():
        contest.say(f"making a base model without {len(WITHOUT)} sources: some minutes")
        make_base(
            load_settings(),
            params,
            contest.data,
            folder,
            without=WITHOUT,
            recipe=recipe,
            on_stage=contest.say,
        )
    return unpack(folder / PACKED_FILE)


def _key(data: Path, recipe: Recipe, params: Params) -> str:
    """Another one for all that makes another base model: recipe, texts, lexicons, idioms, code."""
    declared = [data / "raw" / dataset.path for dataset in params.datasets.values()]
    code = sorted(IDIOMS.parent.glob("*.py"))
    files = [data / CORPUS, data / AFINN, *(data / path for path in BING_LIU.values())]
    made_of = [
        recipe,
        params,
        WITHOUT,
        TOKENS_VERSION,
        Vader().words,
        [fingerprint(path) for path in (*files, *declared, IDIOMS, *code)],
    ]
    return sha256_of(msgspec.json.encode(made_of))[:12]


def study(contest: Contest, base: LinearScorer, source: str) -> dict[int, Measured]:
    """Learn from some rows of a source, test on others, ten times; by number of rows."""
    contest.say(f"adapting to {source}")
    texts = labelled_texts(contest, source)
    rows = LabelledTexts(base, texts["text"], texts["label"].to_numpy() == "positive").rows
    found: dict[int, list[list[tuple[float, float]]]] = {}
    for seed in range(SEEDS):
        for size, seen, held_out in _drawn(rows.labels, seed):
            figures = [_figures(rows[seen], rows[held_out], kind) for kind in KINDS]
            found.setdefault(size, []).append(figures)
    return {size: Measured(*np.moveaxis(np.array(each), 2, 0)) for size, each in found.items()}


def labelled_texts(contest: Contest, source: str) -> pl.DataFrame:
    """The negative and positive texts of a source; at most enough of them."""
    corpus = pl.read_parquet(contest.data / CORPUS, columns=["text", "label", "source"])
    texts = corpus.filter((pl.col("source") == source) & (pl.col("label") != "neutral"))
    return texts.sample(min(texts.height, 2 * (SIZES[-1] + _TESTED)), shuffle=True, seed=SEED)


def _drawn(
    positive: NDArray[np.bool_], seed: int
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Sizes, so many rows as they come, and the rows to test on.

    The first rows hold the fewest of each class that one can learn from.
    """
    order = np.random.default_rng(seed).permutation(positive.size)
    first = np.concatenate(
        [order[positive[order] == label][:LEAST_ROWS_OF_A_CLASS] for label in (False, True)]
    )
    order = np.concatenate([first, order[~np.isin(order, first)]])
    for size in SIZES:
        yield size, np.sort(order[:size]), np.sort(order[SIZES[-1] :][:_TESTED])


def _figures(seen: Rows, held_out: Rows, kind: str) -> tuple[float, float]:
    """Accuracy and expected calibration error on rows that were held out."""
    if kind == "base":
        probabilities = held_out.start_probabilities()
    else:
        plans = scratch_plans(seen.n_classes) if kind == "scratch" else None
        probabilities = adapt(seen, SEED, plans).probabilities(held_out)
    metrics = evaluate(held_out.labels.astype(np.int8), probabilities)
    return metrics.accuracy, metrics.ece


def _compared(source: str, size: int, found: Measured) -> Result:
    """Adapted against the better of the two others."""
    means = found.accuracy.mean(axis=0)
    better = int(np.argmax(means[:2]))
    gain = found.accuracy[:, 2] - found.accuracy[:, better]
    spread = _half_width(gain)
    intervals = [
        f"{kind} {100 * mean:.1f} ± {100 * _half_width(values):.1f}"
        for kind, mean, values in zip(KINDS, means, found.accuracy.T, strict=True)
    ]
    return Result(
        what=f"accuracy on {source} after {size:,} rows",
        unit="%",
        ours=float(means[2]),
        rival=KINDS[better],
        theirs=float(means[better]),
        target="best, or within noise of it",
        reached=bool(gain.mean() + spread >= 0),
        note=f"{', '.join(intervals)}; ECE {found.ece[:, 2].mean():.3f}",
    )


def _half_width(values: NDArray[np.float64]) -> float:
    """Of the 95 % interval of the mean."""
    return float(_T * values.std(ddof=1) / np.sqrt(values.size))


def _calibration(measured: dict[tuple[str, int], Measured]) -> list[Result]:
    results = []
    for size in SIZES:
        by_source = {
            source: float(found.ece[:, 2].mean())
            for (source, rows), found in measured.items()
            if rows == size
        }
        worst = max(by_source, key=lambda source: by_source[source])
        asked = size >= _CALIBRATED_FROM
        results.append(
            Result(
                what=f"calibration error after {size:,} rows, worst of the sources",
                unit="",
                ours=by_source[worst],
                target=f"at most {_MOST_ECE}" if asked else "",
                reached=by_source[worst] <= _MOST_ECE if asked else None,
                note=worst,
            )
        )
    return results


def _time(contest: Contest, base: LinearScorer) -> Result:
    """From a thousand labelled texts to an adapted table."""
    texts = labelled_texts(contest, STUDIED[0]).head(1_000)
    positive = texts["label"].to_numpy() == "positive"
    seconds = []
    for _ in range(contest.repetitions):
        started = perf_counter()
        LabelledTexts(base, texts["text"], positive).adapt(SEED)
        seconds.append(perf_counter() - started)
    return Result(
        what="adapt to 1,000 labelled texts, strings to calibrated table",
        unit="s",
        ours=median(seconds),
        target="under 1 s",
        reached=median(seconds) < 1,
    )


def _imdb(contest: Contest, base: LinearScorer) -> Result:
    contest.say("adapting to 25,000 reviews of IMDB")
    train, test = contest.train, contest.test
    data = LabelledTexts(base, train.texts, train.labels == 1)
    accuracies = {}
    for name, plans in (("adapted", None), ("scratch", scratch_plans(2))):
        model = data.adapt(SEED, plans)
        positive = model.scorer.predict(test.texts)[1] >= POSITIVE_FROM
        accuracies[name] = float(np.mean(positive == (test.labels == 1)))
        contest.say(f"{name}: {model.adaptation.plan}")
    return Result(
        what="accuracy, IMDB official test, from a base model without reviews of IMDB",
        unit="%",
        ours=accuracies["adapted"],
        rival="from scratch",
        theirs=accuracies["scratch"],
    )

"""What more classes cost: scoring with mapped tables of the same size, in turn, and training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from pipelines.inference.linear_scorer import TABLE_FILE, LinearScorer, TableInfo
from pipelines.labels import Classes
from pipelines.training.subjects import get_subject
from tests.benchmarks.class_tasks import Task, airline, stars
from tests.benchmarks.classes import FASTTEXT, OURS, WORDS, training_time
from tests.benchmarks.contest import VECTORIZER, Contest
from tests.benchmarks.measuring import take_turns
from tests.benchmarks.results import Result

_COUNTS: Final = (2, 3, 5)
_MOST_COST: Final = 1.3
_MANY: Final = 5_000
_SINGLE: Final = 1_000
_ROUNDS: Final = 31
"""Each takes a tenth of a second: the median of a few of them would be noise."""


def class_cost(contest: Contest) -> list[Result]:
    """Microseconds per text of 2, 3 and 5 classes beside two; training beside fastText's."""
    texts = contest.test.texts[:_MANY]
    with tempfile.TemporaryDirectory() as folder:
        scorers = {count: _served(count, Path(folder)) for count in _COUNTS}
        ways: dict[str, tuple[int, Callable[[LinearScorer], object]]] = {
            "many texts": (len(texts), lambda scorer: scorer.predict(texts)),
            "one text at a time": (
                _SINGLE,
                lambda scorer: [scorer.judge([text]) for text in texts[:_SINGLE]],
            ),
        }
        results = []
        for name, (n, score) in ways.items():
            contest.say(f"scoring {name} of 2, 3 and 5 classes")
            results += _compared(name, n, _medians(scorers, score))
    contest.say("training on 3 and 5 classes")
    return [*results, *(_training(task, contest) for task in (airline, stars))]


def _training(read: Callable[[Path], Task], contest: Contest) -> Result:
    """nbsvm with its defaults against fastText as on IMDB, both on words and pairs."""
    task = read(contest.data)
    defaults = get_subject("nbsvm").for_classes(len(task.classes.names)).defaults
    settings = {OURS: (defaults["C"], defaults["min_df"]), FASTTEXT: (0.5, 10, 2)}
    return training_time(task, WORDS, settings, contest)


def _medians(
    scorers: dict[int, LinearScorer], score: Callable[[LinearScorer], object]
) -> dict[int, float]:
    """Median seconds by number of classes; the first round, which reads the tables, is left out."""
    tasks = {str(count): lambda scorer=scorer: score(scorer) for count, scorer in scorers.items()}
    take_turns(tasks, 1)
    return {int(count): seconds for count, seconds in take_turns(tasks, _ROUNDS).items()}


def _compared(name: str, n: int, seconds: dict[int, float]) -> list[Result]:
    each = {count: 1e6 * found / n for count, found in seconds.items()}
    return [
        Result(
            what=f"{count} classes beside 2, {name}",
            unit="us",
            ours=each[count],
            rival="2 classes",
            theirs=each[2],
            target=f"at most {_MOST_COST} times the time" if count == 3 else "",
            reached=each[count] <= _MOST_COST * each[2] if count == 3 else None,
            note=f"{each[count] / each[2]:.2f} times the time",
        )
        for count in _COUNTS[1:]
    ]


def _served(count: int, folder: Path) -> LinearScorer:
    """A scorer as a server has it: its table is a file that is mapped."""
    info = TableInfo(
        ngram_max=VECTORIZER.ngram_max,
        bits=VECTORIZER.bits,
        terms="presence",
        bias=0.0,
        slope=1.0,
        offset=0.0,
    )
    if count > 2:
        names = tuple(str(number) for number in range(count))
        info = msgspec.structs.replace(info, classes=Classes(names), biases=(0.0,) * count)
    weights = np.random.default_rng(0).normal(size=info.shape).astype(np.float32)
    path = folder / f"{count}-{TABLE_FILE}"
    LinearScorer(info, weights).save(path)
    return LinearScorer.open(path)

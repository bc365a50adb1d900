"""Simulated annotators: how good a model is after so many labels, by how the texts were chosen.

The answers are those of the corpus, on sources that the base model has not seen. Every strategy
labels the same pile and is measured on the same other texts. The queue pays for its honest test
set: one label in five is not learnt from. Random choice is measured with and without that.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from pipelines.errors import TrainingError
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.labelling.active_learning import ActiveLearning
from pipelines.labelling.learning import fit
from pipelines.labelling.reading import places
from pipelines.labelling.store import LabelStore
from pipelines.labels import BINARY
from tests.benchmarks.adaptation import STUDIED, base_without, labelled_texts
from tests.benchmarks.contest import Contest
from tests.benchmarks.results import Result

SIZES: Final = (50, 100, 200)
SEEDS: Final = int(os.environ.get("LABELLING_SEEDS", "10"))
_PILE: Final = 1_500
_TESTED: Final = 1_000
_FIRST: Final = 10
"""Random labels of each strategy that learns from scratch."""
_AT_ONCE: Final = 5
_T: Final = {3: 4.303, 5: 2.776, 10: 2.262}
"""Student's t for 95 %, by seeds."""
KINDS: Final = ("queue", "random", "random without a test set", "uncertainty from scratch")


class Task(NamedTuple):
    """A pile to label, and other texts to test on."""

    texts: list[str]
    positive: NDArray[np.bool_]
    test: list[str]
    truth: NDArray[np.bool_]

    def right(self, positive: NDArray[np.bool_]) -> float:
        """Accuracy on the test texts."""
        return float(np.mean(positive == self.truth))


def labelling(contest: Contest) -> Iterator[Result]:
    """The three strategies on all sources; the queue against random choice, source by source."""
    base = base_without(contest)
    for source in STUDIED:
        contest.say(f"labelling {source}")
        found = np.array([_once(contest, base, source, seed) for seed in range(SEEDS)])
        yield from (_compared(source, size, found[:, at]) for at, size in enumerate(SIZES))


def _once(contest: Contest, base: LinearScorer, source: str, seed: int) -> list[list[float]]:
    """Accuracy by size and kind."""
    task = _task(contest, source, seed)
    strategies: list[Callable[[Task, LinearScorer, int], list[float]]] = [
        _queue,
        partial(_random, share=0.8),
        _random,
        _uncertainty,
    ]
    return np.array([each(task, base, seed) for each in strategies]).T.tolist()


def _task(contest: Contest, source: str, seed: int) -> Task:
    texts = labelled_texts(contest, source).unique("text", maintain_order=True)
    order = np.random.default_rng(seed).permutation(texts.height)
    test, pile = order[:_TESTED], order[_TESTED:][:_PILE]
    written, positive = texts["text"].to_list(), texts["label"].to_numpy() == "positive"
    return Task(
        [written[row] for row in pile],
        positive[pile],
        [written[row] for row in test],
        positive[test],
    )


def _queue(task: Task, base: LinearScorer, seed: int) -> list[float]:
    """The page as people use it: `ActiveLearning` with an annotator who knows the answers."""
    answers = dict(zip(task.texts, task.positive.tolist(), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        store = LabelStore(f"sqlite:///{Path(folder)}/labels.db")
        project = store.create("pile", ("negative", "positive"))
        ranks = places(pl.Series(task.texts), seed)
        store.add_texts(project, zip(ranks, task.texts, strict=True))
        learning = ActiveLearning(store, project, base)
        found = []
        for number in range(1, SIZES[-1] + 1):
            text = learning.next("ann")
            assert text is not None
            answer = "positive" if answers[text.text] else "negative"
            learning.label("ann", text.id, answer)
            if learning.is_due:
                learning.learn()
            if number in SIZES:
                found.append(_accuracy(learning.scorer or base, task))
    return found


def _random(task: Task, base: LinearScorer, seed: int, share: float = 1.0) -> list[float]:
    """The same learning of texts as they come, of all labels or a share of them."""
    found = []
    for labelled in SIZES:
        size = round(share * labelled)
        try:
            labels = task.positive[:size].astype(np.int8)
            scorer = fit(task.texts[:size], labels, BINARY, base).scorer
        except TrainingError:  # too few of a class
            scorer = base
        found.append(_accuracy(scorer, task))
    return found


def _uncertainty(task: Task, base: LinearScorer, seed: int) -> list[float]:
    """Uncertainty alone, with scikit-learn from scratch: what most tools do."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    X = vectorizer.fit_transform(task.texts)
    X_test = vectorizer.transform(task.test)
    labelled = list(range(_FIRST))
    found = []
    while True:
        model = None
        if len(set(task.positive[labelled].tolist())) == 2:
            model = LogisticRegression(C=10, max_iter=1_000).fit(
                X[labelled], task.positive[labelled]
            )
        if len(labelled) in SIZES:
            positive = np.full(len(task.test), task.positive[labelled[0]])
            found.append(task.right(model.predict(X_test) if model else positive))
        if len(labelled) == SIZES[-1]:
            return found
        doubt = np.zeros(len(task.texts)) if model is None else _doubt(model, X)
        doubt[labelled] = -np.inf
        labelled += np.argsort(-doubt, kind="stable")[:_AT_ONCE].tolist()


def _doubt(model: LogisticRegression, X: object) -> NDArray[np.float64]:
    return -np.abs(np.asarray(model.decision_function(X)))


def _accuracy(scorer: LinearScorer, task: Task) -> float:
    return task.right(np.array(scorer.predict(task.test)[0]) == "POSITIVE")


def _compared(source: str, size: int, found: NDArray[np.float64]) -> Result:
    """The queue against random choice; `found` has shape (SEEDS, 4)."""
    means = found.mean(axis=0)
    gain = found[:, 0] - found[:, 1]
    intervals = [
        f"{kind} {100 * mean:.1f} ± {100 * _half_width(values):.1f}"
        for kind, mean, values in zip(KINDS, means, found.T, strict=True)
    ]
    return Result(
        what=f"accuracy on {source} after {size} labels",
        unit="%",
        ours=float(means[0]),
        rival="random choice",
        theirs=float(means[1]),
        target="best, or within noise of it",
        reached=bool(gain.mean() + _half_width(gain) >= 0 and means[0] > means[3]),
        note=", ".join(intervals),
    )


def _half_width(values: NDArray[np.float64]) -> float:
    """Of the 95 % interval of the mean."""
    return float(_T[SEEDS] * values.std(ddof=1) / np.sqrt(values.size))

"""Accuracy, training time, scoring speed and agreement on IMDB's official split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from pipelines.inference.compiling import fuse
from pipelines.inference.linear import LinearScorer
from pipelines.training.subjects import all_subjects
from tests.benchmarks import rivals
from tests.benchmarks.contest import Contest, Texts, fit
from tests.benchmarks.measuring import take_turns
from tests.benchmarks.results import Result

_FASTTEXT: Final = "fastText (wordNgrams 3, dim 50, 10 epochs)"
_SKLEARN: Final = "scikit-learn trigram TF-IDF + LinearSVC"
_VADER_STRIDE: Final = 10
_REVIEW_CHARACTERS: Final = 1300
_REVIEW_CALLS: Final = 1000
_AGREEMENT_TRAIN: Final = 5_000
_AGREEMENT_TEXTS: Final = 10_000
_EXPLAINED_TEXTS: Final = 500


def accuracy(contest: Contest) -> list[Result]:
    """Accuracy on the 25,000 official test texts."""
    trained, test = contest.trained, contest.test
    ours = _accuracy(trained.ours.predict(test.texts)[1] > 0.5, test)
    fasttext = rivals.fasttext_probabilities(trained.fasttext, contest.test_lines) > 0.5
    contest.say("asking scikit-learn and VADER")
    sklearn = trained.sklearn.predict(test.texts) == 1
    some = Texts(test.texts[::_VADER_STRIDE], test.labels[::_VADER_STRIDE])
    vader = _accuracy(rivals.vader_positive(some.texts), some)
    return [
        Result(
            what="accuracy, IMDB official test",
            unit="%",
            ours=ours,
            rival=_FASTTEXT,
            theirs=_accuracy(fasttext, test),
            target="at least 91.8 %",
            reached=ours >= 0.918,
        ),
        Result(
            what="accuracy, IMDB official test",
            unit="%",
            ours=ours,
            rival=_SKLEARN,
            theirs=_accuracy(sklearn, test),
        ),
        Result(
            what="accuracy, IMDB official test",
            unit="%",
            ours=ours,
            rival="VADER",
            theirs=vader,
            note=f"VADER on every {_VADER_STRIDE}th text",
        ),
    ]


def training(contest: Contest) -> list[Result]:
    """Time from raw texts to a fitted, calibrated model."""
    seconds = contest.trained.seconds
    ratio = seconds["fasttext"] / seconds["ours"]
    return [
        Result(
            what="train on 25,000 reviews, raw text to calibrated model",
            unit="s",
            ours=seconds["ours"],
            rival=_FASTTEXT,
            theirs=seconds["fasttext"],
            ratio=ratio,
            target="at least 3 x",
            reached=ratio >= 3,
            note="fastText's text preparation and file not counted, and it is not calibrated",
        ),
        Result(
            what="train on 25,000 reviews, raw text to calibrated model",
            unit="s",
            ours=seconds["ours"],
            rival=_SKLEARN,
            theirs=seconds["sklearn"],
            ratio=seconds["sklearn"] / seconds["ours"],
            note="scikit-learn once, not calibrated",
        ),
    ]


def scoring(contest: Contest) -> list[Result]:
    """Time from Python strings to probabilities, for many reviews and for one."""
    trained, texts, lines = contest.trained, contest.test.texts, contest.test_lines
    contest.say(f"scoring 25,000 reviews, {contest.repetitions} times in turn")
    seconds = take_turns(
        {
            "ours": lambda: trained.ours.predict(texts),
            "fasttext": lambda: trained.fasttext.predict(lines),
            "sklearn": lambda: trained.sklearn.decision_function(texts),
        },
        contest.repetitions,
    )
    many = [
        _speed(seconds, "fasttext", _FASTTEXT, 6, "aim: 10 x; its text preparation not counted"),
        _speed(seconds, "sklearn", _SKLEARN, 30, "scikit-learn's margins, not probabilities"),
    ]
    return [*many, _one_review(contest)]


def agreement(contest: Contest) -> list[Result]:
    """How far fused probabilities and explanations are from exact, for every linear subject."""
    results = []
    train, texts = contest.train.head(_AGREEMENT_TRAIN), contest.test.texts[:_AGREEMENT_TEXTS]
    for subject in all_subjects().values():
        if subject.vectorizer is not None:  # those with few features of their own: not linear
            continue
        contest.say(f"comparing {subject.name} with its fused self")
        pipeline = fit(subject, train)
        scorer = fuse(pipeline)
        if scorer is None:
            continue
        difference = np.abs(scorer.predict(texts)[1] - pipeline.predict_proba(texts)[:, 1]).max()
        results.append(
            Result(
                what=f"{subject.name}: fused against unfused, {len(texts):,} texts",
                unit="",
                ours=float(difference),
                rival="its scikit-learn pipeline",
                target="at most 1e-6",
                reached=bool(difference <= 1e-6),
            )
        )
        error = max(_explanation_error(scorer, text) for text in texts[:_EXPLAINED_TEXTS])
        results.append(
            Result(
                what=f"{subject.name}: contributions against margin, {_EXPLAINED_TEXTS:,} texts",
                unit="",
                ours=error,
                rival="its own margin",
                target="at most 1e-5",
                reached=error <= 1e-5,
            )
        )
    return results


def _explanation_error(scorer: LinearScorer, text: str) -> float:
    """By how much the contributions of a text's words miss the margin that `margins` gives it."""
    contributions = sum(word.contribution for word in scorer.explain(text).words)
    return abs(float(scorer.margins([text])[0]) - scorer.info.bias - contributions)


def _accuracy(positive: np.ndarray, data: Texts) -> float:
    return float(np.mean(positive == (data.labels == 1)))


def _speed(seconds: dict[str, float], key: str, rival: str, target: int, note: str) -> Result:
    ratio = seconds[key] / seconds["ours"]
    return Result(
        what="score 25,000 reviews, strings to probabilities",
        unit="s",
        ours=seconds["ours"],
        rival=rival,
        theirs=seconds[key],
        ratio=ratio,
        target=f"at least {target} x",
        reached=ratio >= target,
        note=note,
    )


def _one_review(contest: Contest) -> Result:
    """One call for one review, each time another: nobody asks the same question twice.

    With one and the same review, the tables of both would stay in the processor's cache.
    """
    trained, texts = contest.trained, contest.test.texts
    near = sorted(range(len(texts)), key=lambda i: abs(len(texts[i]) - _REVIEW_CHARACTERS))
    chosen = near[:_REVIEW_CALLS]
    ours = _microseconds(trained.ours.predict, [[texts[i]] for i in chosen])
    fasttext = _microseconds(trained.fasttext.predict, [[contest.test_lines[i]] for i in chosen])
    lengths = [len(texts[i]) for i in chosen]
    return Result(
        what=f"one review of {_REVIEW_CHARACTERS:,} characters, string to label and probability",
        unit="µs",
        ours=ours,
        rival=_FASTTEXT,
        theirs=fasttext,
        ratio=fasttext / ours,
        target="under 60 µs",
        reached=ours < 60,
        note=f"median of {len(chosen):,} reviews of {min(lengths):,} to {max(lengths):,}",
    )


def _microseconds(ask: Callable[[list[str]], object], questions: Sequence[list[str]]) -> float:
    measured = []
    for question in questions:
        started = perf_counter()
        ask(question)
        measured.append(perf_counter() - started)
    return 1e6 * median(measured)

"""Accuracy, training time, scoring speed and agreement on IMDB's official split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from pipelines.inference.compiling import fuse
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.training.subjects import all_subjects
from tests.benchmarks import rivals
from tests.benchmarks.contest import SKLEARN, Contest, Texts, fit
from tests.benchmarks.measuring import take_turns
from tests.benchmarks.results import Result

FASTTEXT: Final = "fastText (wordNgrams 3, dim 50, 10 epochs)"
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
    contest.say("asking fastText, scikit-learn and VADER")
    lines = rivals.fasttext_lines(test.texts)
    probabilities = rivals.fasttext_probabilities(trained.fasttext, lines)
    theirs = {FASTTEXT: _accuracy(probabilities > 0.5, test)}
    for name, pipeline in trained.sklearn.items():
        theirs[name] = _accuracy(pipeline.predict(test.texts) == 1, test)
    some = Texts(test.texts[::_VADER_STRIDE], test.labels[::_VADER_STRIDE])
    theirs[f"VADER, on every {_VADER_STRIDE}th text"] = _accuracy(
        rivals.vader_positive(some.texts), some
    )
    return [
        Result(
            what="accuracy, IMDB official test",
            unit="%",
            ours=ours,
            rival=rival,
            theirs=value,
            target="at least 91.8 %" if rival == FASTTEXT else "",
            reached=ours >= 0.918 if rival == FASTTEXT else None,
        )
        for rival, value in theirs.items()
    ]


def training(contest: Contest) -> list[Result]:
    """Time from raw texts to a fitted, calibrated model."""
    seconds = contest.trained.seconds
    return [
        _speed("train on 25,000 reviews, raw text to calibrated model", seconds, name, *target)
        for name, target in {
            "fasttext": (3, "not calibrated"),
            **dict.fromkeys(SKLEARN, (None, "timed once; not calibrated")),
        }.items()
    ]


def scoring(contest: Contest) -> list[Result]:
    """Time from Python strings to probabilities, for many reviews and for one."""
    trained, texts = contest.trained, contest.test.texts
    contest.say(f"scoring 25,000 reviews, {contest.repetitions} times in turn")
    lines = rivals.fasttext_lines(texts)
    contestants: dict[str, Callable[[], object]] = {
        "ours": lambda: trained.ours.predict(texts),
        "fasttext": lambda: trained.fasttext.predict(rivals.fasttext_lines(texts)),
        "prepared": lambda: trained.fasttext.predict(lines),
    }
    for name, pipeline in trained.sklearn.items():
        contestants[name] = partial(pipeline.decision_function, texts)
    seconds = take_turns(contestants, contest.repetitions)
    what = "score 25,000 reviews, strings to probabilities"
    full, lean = SKLEARN
    return [
        _speed(what, seconds, "fasttext", 6, "aim: 10 x"),
        _speed(what, seconds, "prepared", None, "its text preparation not counted"),
        _speed(what, seconds, full, 30, "its margins, not probabilities"),
        _speed(what, seconds, lean, None, "its margins, not probabilities"),
        _one_review(contest),
    ]


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


def _speed(what: str, seconds: dict[str, float], key: str, target: int | None, note: str) -> Result:
    ratio = seconds[key] / seconds["ours"]
    return Result(
        what=what,
        unit="s",
        ours=seconds["ours"],
        rival=key if key in SKLEARN else FASTTEXT,
        theirs=seconds[key],
        ratio=ratio,
        target=f"at least {target} x" if target else "",
        reached=ratio >= target if target else None,
        note=note,
    )


def _one_review(contest: Contest) -> Result:
    """One call for one review, each time another: nobody asks the same question twice.

    With one and the same review, the tables of both would stay in the processor's cache.
    """
    trained, texts = contest.trained, contest.test.texts
    near = sorted(range(len(texts)), key=lambda i: abs(len(texts[i]) - _REVIEW_CHARACTERS))
    chosen = near[:_REVIEW_CALLS]
    questions = [[texts[i]] for i in chosen]
    ours = _microseconds(trained.ours.predict, questions)
    fasttext = _microseconds(
        lambda question: trained.fasttext.predict(rivals.fasttext_lines(question)), questions
    )
    lengths = [len(texts[i]) for i in chosen]
    return Result(
        what=f"one review of {_REVIEW_CHARACTERS:,} characters, string to label and probability",
        unit="µs",
        ours=ours,
        rival=FASTTEXT,
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

"""More than two classes: airline tweets (3) and Amazon's stars (5), and what they cost to score."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.inference.compiling import fuse
from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.labels import Classes
from pipelines.text.normalise import normalise_column
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.evaluation import evaluate, label_metrics
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_pipeline, probabilities
from pipelines.training.subjects import Subject, get_subject
from tests.benchmarks import rivals
from tests.benchmarks.contest import SEED, VECTORIZER, Contest
from tests.benchmarks.measuring import take_turns
from tests.benchmarks.results import Result

_TEST: Final = 0.2
_MOST_COST: Final = 1.3

Predicted = NDArray[np.int8]


class Task(NamedTuple):
    """A labelled file, divided."""

    name: str
    classes: Classes
    train: list[str]
    y_train: NDArray[np.int8]
    test: list[str]
    y_test: NDArray[np.int8]


def classes(contest: Contest) -> list[Result]:
    """Accuracy, macro F1 and kappa against scikit-learn and fastText, and the time per text."""
    results = []
    for task in (_airline(contest.data), _stars(contest.data)):
        results += _compared(task, contest)
    return results + _cost(contest)


def _compared(task: Task, contest: Contest) -> list[Result]:
    found: dict[str, Predicted] = {}

    def run(name: str, predict: Callable[[Task], Predicted]) -> Callable[[], None]:
        def once() -> None:
            found[name] = predict(task)

        return once

    contest.say(f"{task.name}: training and judging")
    contestants = {"ours": _ours, "fastText": _fasttext, **_SKLEARN}
    seconds = take_turns({name: run(name, each) for name, each in contestants.items()}, 1)
    metrics = {
        name: label_metrics(task.y_test, predicted, task.classes)
        for name, predicted in found.items()
    }
    ours = metrics.pop("ours")
    results = [
        Result(
            what=f"{task.name}, {measure}",
            unit="%",
            ours=ours[measure],
            rival=name,
            theirs=theirs[measure],
            target="ahead",
            reached=ours[measure] > theirs[measure],
        )
        for name, theirs in metrics.items()
        for measure in ("accuracy", "f1_macro", "kappa")
    ]
    return [
        *results,
        Result(
            what=f"{task.name}, training and judging",
            unit="s",
            ours=seconds["ours"],
            rival="fastText",
            theirs=seconds["fastText"],
            ratio=seconds["fastText"] / seconds["ours"],
        ),
    ]


def _cost(contest: Contest) -> list[Result]:
    """Time per text of K classes beside that of two, over tables of the same size."""
    draw = np.random.default_rng(0)
    scorers = {count: _scorer(count, draw) for count in (2, 3, 5)}
    texts = contest.test.texts[:5_000]
    for scorer in scorers.values():
        scorer.predict(texts[:200])
        scorer.judge(texts[:1])
    many = {str(k): lambda s=s: s.predict(texts) for k, s in scorers.items()}
    single = {
        str(k): lambda s=s: [s.judge([text]) for text in texts[:2_000]] for k, s in scorers.items()
    }
    results = []
    for name, tasks in (("many texts", many), ("one text at a time", single)):
        contest.say(f"scoring {name} of 2, 3 and 5 classes")
        seconds = take_turns(tasks, contest.repetitions)
        for count in (3, 5):
            cost = seconds[str(count)] / seconds["2"]
            results.append(
                Result(
                    what=f"{count} classes beside 2, {name}",
                    unit="s",
                    ours=seconds[str(count)],
                    rival="2 classes",
                    theirs=seconds["2"],
                    ratio=cost,
                    target=f"<= {_MOST_COST} x" if count == 3 else "",
                    reached=cost <= _MOST_COST if count == 3 else None,
                )
            )
    return results


def _scorer(count: int, draw: np.random.Generator) -> LinearScorer:
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
    weights = draw.normal(size=info.shape).astype(np.float32)
    weights.flags.writeable = False
    return LinearScorer(info, weights)


def _ours(task: Task) -> Predicted:
    """The subject that is better on a fifth of the train texts, fitted on all of them."""
    counts = HashedNgramVectorizer(**msgspec.structs.asdict(VECTORIZER)).transform(task.train)
    data = Labelled(counts, task.y_train, task.classes)
    held_out = np.random.default_rng(SEED).random(len(task.train)) < _TEST
    fit, look = data[~held_out], data[held_out]

    def loss(subject: Subject) -> float:
        pipeline = fit_pipeline(subject, subject.defaults, SEED, VECTORIZER, fit)
        return evaluate(look.labels, probabilities(pipeline, look), task.classes).log_loss

    subject = min(map(get_subject, ("nbsvm", "logistic_regression")), key=loss)
    scorer = fuse(fit_pipeline(subject, subject.defaults, SEED, VECTORIZER, data))
    assert scorer is not None
    return task.classes.predicted(scorer.predict(task.test)[1])


def _fasttext(task: Task) -> Predicted:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        rivals.write_fasttext_file(path, rivals.fasttext_lines(task.train), task.y_train)
        labels, _ = rivals.train_fasttext(path).predict(rivals.fasttext_lines(task.test))
    return np.array([int(label[0].removeprefix("__label__")) for label in labels], dtype=np.int8)


def _sklearn(name: str) -> Callable[[Task], Predicted]:
    def predict(task: Task) -> Predicted:
        model = rivals.sklearn_classifier(name).fit(task.train, task.y_train)
        return np.asarray(model.predict(task.test), dtype=np.int8)

    return predict


_SKLEARN: Final = {
    f"scikit-learn TF-IDF + {name}": _sklearn(name) for name in ("LogisticRegression", "LinearSVC")
}


def _airline(data: Path) -> Task:
    rows = pl.read_csv(data / "raw" / "Airline Tweets" / "Tweets.csv", infer_schema=False)
    names = ("negative", "neutral", "positive")
    return _task("airline", rows, "text", "airline_sentiment", names)


def _stars(data: Path) -> Task:
    rows = pl.read_csv(data / "raw" / "Amazon Food Reviews" / "Reviews.csv", infer_schema=False)
    return _task("Amazon's stars", rows, "Text", "Score", ("1", "2", "3", "4", "5"))


def _task(name: str, rows: pl.DataFrame, text: str, label: str, names: tuple[str, ...]) -> Task:
    """Texts that stand in the file once, an evenly drawn fifth of them held out."""
    rows = rows.filter(pl.col(label).is_in(names))
    texts, _ = normalise_column(rows[text].fill_null(""))
    distinct = pl.DataFrame({"text": texts, "label": rows[label]}).unique(
        "text", keep="first", maintain_order=True
    )
    y = np.array([names.index(value) for value in distinct["label"]], dtype=np.int8)
    held_out = np.random.default_rng(SEED).random(y.size) < _TEST
    listed = np.array(distinct["text"].to_list(), dtype=object)
    return Task(
        name,
        Classes.declared(names, ordered=True),
        listed[~held_out].tolist(),
        y[~held_out],
        listed[held_out].tolist(),
        y[held_out],
    )

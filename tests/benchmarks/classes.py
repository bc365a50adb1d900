"""More than two classes: airline tweets and Amazon's stars, against rivals that are tuned alike.

Every contestant has eight settings. In each of five folds it gets the one that is best on a fifth
of the train texts, is trained on all of them and judged on the fold: every text is judged once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from pipelines.base_model.opening import BASE3, open_base
from pipelines.config.params import Vectorizer
from pipelines.inference.adapting import LabelledTexts
from pipelines.inference.compiling import fuse
from pipelines.labels import Classes
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.evaluation import label_metrics
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import get_subject
from tests.benchmarks import rivals
from tests.benchmarks.class_tasks import C_OF_HINGE, C_OF_LOGISTIC, Task, airline, held_out, stars
from tests.benchmarks.contest import SEED, Contest
from tests.benchmarks.measuring import take_turns
from tests.benchmarks.results import Result

_FOLDS: Final = 5
_SHARE: Final = 0.2
"""Of the train texts, to choose a setting by."""
_RESAMPLED: Final = 1_000
_LONGEST: Final = 2
"""Tokens of an n-gram, as for scikit-learn's."""
_OF_FASTTEXT: Final = ((0.1, 10), (0.1, 25), (0.25, 10), (0.5, 5))
"""Learning rates with numbers of epochs."""
_OF_NGRAMS: Final = (2, 3)
"""With single words alone, this version of fastText comes to weights that are not numbers."""
_MEASURES: Final = ("accuracy", "f1_macro", "kappa")
OURS: Final = "ours"
_FROM_BASE3: Final = "ours, from base3"
_OWN: Final = (OURS, _FROM_BASE3)
FASTTEXT: Final = "fastText"
_TIMED: Final = (OURS, FASTTEXT)

Predicted = NDArray[np.int8]
Setting = tuple[Any, ...]
Train = Callable[[Task, Setting], Callable[[Sequence[str]], Predicted]]
"""Learns from a task with a setting; gives what predicts the classes of texts."""


class Contestant(NamedTuple):
    """What is tuned, and how it is trained."""

    train: Train
    settings: list[Setting]

    def chosen(self, task: Task) -> Setting:
        """The best setting for a task by the mean of accuracy and macro F1 on a part of it."""
        looked_at = held_out(task.y.size, _SHARE, SEED)
        seen, look = task.part(~looked_at), task.part(looked_at)

        def quality(setting: Setting) -> float:
            predicted = self.train(seen, setting)(look.texts.tolist())
            found = label_metrics(look.y, predicted, task.classes)
            return found["accuracy"] + found["f1_macro"]

        return max(self.settings, key=quality) if len(self.settings) > 1 else self.settings[0]


def classes(contest: Contest) -> Iterator[Result]:
    """Accuracy, macro F1 and kappa against scikit-learn and fastText, and the time to train."""
    for read, league in ((airline, WORDS), (airline, _CHARACTERS), (stars, WORDS)):
        yield from _compared(read(contest.data), league, contest)


class League(NamedTuple):
    """Contestants with the same kind of features."""

    features: str
    contestants: dict[str, Contestant]


def _compared(task: Task, league: League, contest: Contest) -> list[Result]:
    predicted = {name: np.empty_like(task.y) for name in league.contestants}
    chosen: dict[str, list[Setting]] = {name: [] for name in league.contestants}
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=SEED).split(task.texts, task.y)
    for number, (_, rows) in enumerate(folds):
        contest.say(f"{task.name}, {league.features}: fold {number + 1} of {_FOLDS}")
        judged = np.isin(np.arange(task.y.size), rows)
        for name, contestant in league.contestants.items():
            setting = contestant.chosen(task.part(~judged))
            chosen[name].append(setting)
            predict = contestant.train(task.part(~judged), setting)
            predicted[name][judged] = predict(task.texts[judged].tolist())
    results = []
    for own, rival in product(_OWN, league.contestants):
        if own in league.contestants and rival not in _OWN:
            what = f"{task.name}, {league.features}" + own.removeprefix(OURS)
            note = f"theirs: {_named(*chosen[rival])}"
            results += _against(task, what, predicted[own], rival, predicted[rival], note)
    first = {name: settings[0] for name, settings in chosen.items()}
    return [*results, training_time(task, league, first, contest)]


def _against(
    task: Task, what: str, ours: Predicted, rival: str, theirs: Predicted, note: str
) -> list[Result]:
    """Both on all texts, and the 95 % interval of the difference by a paired bootstrap."""
    random = np.random.default_rng(SEED)
    drawn = [random.integers(task.y.size, size=task.y.size) for _ in range(_RESAMPLED)]
    differences = [
        _measures(task.y[rows], ours[rows], task.classes)
        - _measures(task.y[rows], theirs[rows], task.classes)
        for rows in drawn
    ]
    low, high = np.quantile(differences, (0.025, 0.975), axis=0)
    whole = [_measures(task.y, each, task.classes) for each in (ours, theirs)]
    return [
        Result(
            what=f"{what}: {measure}",
            unit="%",
            ours=float(whole[0][number]),
            rival=rival,
            theirs=float(whole[1][number]),
            target="ahead beyond noise",
            reached=bool(low[number] > 0),
            note=f"ahead by {100 * low[number]:.2f} to {100 * high[number]:.2f} points; {note}",
        )
        for number, measure in enumerate(_MEASURES)
    ]


def _measures(y: NDArray[np.int8], predicted: Predicted, classes: Classes) -> NDArray[np.float64]:
    """`_MEASURES` from the table of labels and predictions, quicker than scikit-learn does it."""
    count = len(classes.names)
    cells = y.astype(np.int64) * count + predicted
    table = np.bincount(cells, minlength=count**2).reshape(count, count).astype(np.float64)
    labelled, answered, right = table.sum(axis=1), table.sum(axis=0), np.diag(table)
    distance = np.subtract.outer(np.arange(count), np.arange(count)) ** 2
    expected = np.outer(labelled, answered) / y.size
    kappa = 1 - (distance * table).sum() / (distance * expected).sum()
    return np.array([right.sum() / y.size, (2 * right / (labelled + answered)).mean(), kappa])


def training_time(
    task: Task, league: League, settings: dict[str, Setting], contest: Contest
) -> Result:
    """From strings to a model, on all texts but a fifth."""
    train = task.part(~held_out(task.y.size, _SHARE, SEED))
    seconds = take_turns(
        {name: partial(league.contestants[name].train, train, settings[name]) for name in _TIMED},
        contest.repetitions,
    )
    ours, theirs = (_named(settings[name]) for name in _TIMED)
    return Result(
        what=f"{task.name}, {league.features}: training on {train.y.size:,} texts",
        unit="s",
        ours=seconds[OURS],
        rival=FASTTEXT,
        theirs=seconds[FASTTEXT],
        ratio=seconds[FASTTEXT] / seconds[OURS],
        note=f"ours: {ours}; theirs: {theirs}",
    )


def _named(*settings: Setting) -> str:
    """Settings for people, each once."""
    return ", ".join(" ".join(map(str, each)) for each in dict.fromkeys(settings))


def _ours(char_max: int) -> Train:
    """nbsvm with its defaults for several classes, but C and the fewest texts of an n-gram."""

    def train(task: Task, setting: Setting) -> Callable[[Sequence[str]], Predicted]:
        C, min_df = setting
        vectorizer = Vectorizer(ngram_max=_LONGEST, char_max=char_max)
        counts = HashedNgramVectorizer(**msgspec.structs.asdict(vectorizer)).transform(task.texts)
        subject = get_subject("nbsvm").for_classes(len(task.classes.names))
        data = Labelled(counts, task.y, task.classes)
        scorer = fuse(
            fit_pipeline(
                subject, subject.parameters({"C": C, "min_df": min_df}), SEED, vectorizer, data
            )
        )
        assert scorer is not None
        return lambda texts: task.classes.predicted(scorer.predict(texts)[1])

    return train


def _from_base3(task: Task, setting: Setting) -> Callable[[Sequence[str]], Predicted]:
    """What `olens adapt --from base3` learns; base3 has not seen the airline tweets."""
    model = LabelledTexts(open_base(BASE3), task.texts.tolist(), task.y).adapt(SEED)
    return lambda texts: task.classes.predicted(model.scorer.predict(texts)[1])


def _fasttext(longest: int) -> Train:
    def train(task: Task, setting: Setting) -> Callable[[Sequence[str]], Predicted]:
        rate, epochs, ngrams = setting
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.txt"
            rivals.write_fasttext_file(path, rivals.fasttext_lines(task.texts.tolist()), task.y)
            model = rivals.train_fasttext(path, ngrams, epochs, rate, longest)

        def predict(texts: Sequence[str]) -> Predicted:
            labels, _ = model.predict(rivals.fasttext_lines(texts))
            return np.array([int(label[0].removeprefix("__label__")) for label in labels], np.int8)

        return predict

    return train


def _sklearn(name: str, characters: bool) -> Train:
    def train(task: Task, setting: Setting) -> Callable[[Sequence[str]], Predicted]:
        C, class_weight = setting
        model = rivals.sklearn_classifier(name, C, class_weight, characters)
        model.fit(task.texts, task.y)
        return lambda texts: np.asarray(model.predict(texts), dtype=np.int8)

    return train


def _league(features: str, characters: bool) -> League:
    longest = 5 if characters else 0
    weights = (None, "balanced")
    contestants = {
        OURS: Contestant(_ours(longest), list(product(C_OF_HINGE, (1, 2)))),
        FASTTEXT: Contestant(
            _fasttext(longest),
            [(*pace, ngrams) for pace, ngrams in product(_OF_FASTTEXT, _OF_NGRAMS)],
        ),
        "TF-IDF + LinearSVC": Contestant(
            _sklearn("LinearSVC", characters), list(product(C_OF_HINGE, weights))
        ),
    }
    if characters:
        contestants[_FROM_BASE3] = Contestant(_from_base3, [()])
    else:  # with characters, it would take most of an hour
        contestants["TF-IDF + LogisticRegression"] = Contestant(
            _sklearn("LogisticRegression", characters), list(product(C_OF_LOGISTIC, weights))
        )
    return League(features, contestants)


WORDS: Final = _league("words", False)
_CHARACTERS: Final = _league("words and characters", True)

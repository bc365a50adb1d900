from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.config.params import Split
from pipelines.datasets.splitting import assign_splits
from pipelines.errors import InputError
from pipelines.labelling.active_learning import ActiveLearning
from pipelines.labelling.reading import SEED
from pipelines.labelling.store import LabelStore
from pipelines.text.normalise import normalise_column
from tests.unit.labelling.piles import opened, pile, project, start, work

ANSWERS = pile(400)


@pytest.fixture
def learning(tmp_path: Path) -> ActiveLearning:
    return opened(tmp_path, ANSWERS)


def test_every_fifth_text_is_drawn_at_random_and_never_learnt_from(
    learning: ActiveLearning,
) -> None:
    done = work(learning, ANSWERS, 50)
    tests = [learning.texts[text].test for text in done]
    assert [sum(tests[at : at + 5]) for at in range(0, 50, 5)] == [1] * 10
    learnt, _ = learning.lesson()
    tested, _ = learning.tested()
    assert (len(learnt), len(tested)) == (40, 10)
    assert not set(learnt) & set(tested)


def test_the_random_fifth_is_test_and_val_of_a_data_set_with_the_same_texts(
    learning: ActiveLearning,
) -> None:
    texts = list(learning.texts.values())
    _, digests = normalise_column(pl.Series([each.text for each in texts]))
    splits = assign_splits(digests, SEED, Split())
    assert [each.test for each in texts] == [split != "train" for split in splits]
    places = [each.place for each in texts]
    assert places == sorted(places)  # drawn in this order: test before val


def test_the_model_becomes_better_and_says_how_good_it_is(learning: ActiveLearning) -> None:
    before = learning.progress()
    assert before.needs
    assert before.accuracy is None
    work(learning, ANSWERS, 120)
    progress = learning.progress()
    assert progress.accuracy is not None
    assert progress.before is not None
    assert progress.accuracy.texts == 24
    assert progress.accuracy.share > max(0.85, progress.before.share)
    assert progress.accuracy.low < progress.accuracy.share <= progress.accuracy.high
    assert progress.learnt_from == 96
    assert progress.labelled == 120
    assert sum(progress.by_class.values()) == 120


def test_what_the_model_knows_least_about_comes_first_and_is_not_all_alike(
    learning: ActiveLearning,
) -> None:
    work(learning, ANSWERS, 40)
    assert learning.scorer is not None
    rest = [text for text in learning.texts.values() if not text.test]
    shown = [learning.texts[text] for text in islice(learning.queue, 10)]

    def margins(texts: list[str]) -> np.ndarray:
        return np.abs(learning.scorer.predict(texts)[1] - 0.5)

    assert margins([each.text for each in shown]).mean() < np.median(
        margins([each.text for each in rest])
    )
    assert len({frozenset(each.text.split()) for each in shown}) == 10


def test_the_guess_is_hidden_where_the_text_tests_the_model(learning: ActiveLearning) -> None:
    texts = list(learning.texts.values())
    for test in (True, False):
        guess = learning.guess(next(each for each in texts if each.test is test))
        assert (guess is None) is test


def test_a_text_waits_for_the_person_until_it_has_an_answer(learning: ActiveLearning) -> None:
    first = learning.next("ann")
    assert first is not None
    assert learning.next("ann") == first
    learning.label("ann", first.id, None)
    second = learning.next("ann")
    assert second != first
    assert second is not None
    learning.label("ann", second.id, "positive", "sure")
    undone = learning.undo("ann")
    assert undone is not None
    assert (undone.text, undone.note) == (second.id, "sure")
    assert learning.next("ann") == second
    assert learning.undo("bob") is None
    assert learning.progress().skipped == 1


def test_two_people_share_the_work_and_test_the_model_on_the_same_texts(
    learning: ActiveLearning,
) -> None:
    wrong = dict.fromkeys(ANSWERS, "negative")
    mine, other = [], []
    for _ in range(8):
        mine += work(learning, ANSWERS, 5, "ann")
        other += work(learning, wrong, 5, "bob")
    both = set(mine) & set(other)
    assert both
    assert both == {text for text in mine if learning.texts[text].test}
    progress = learning.progress()
    assert progress.by_annotator == {"ann": 40, "bob": 40}
    [agreement] = progress.agreements
    assert agreement.texts == 8
    assert agreement.kappa == 0  # one of the two says the same of every text
    disputes = learning.disputes()
    assert len(disputes) == progress.in_dispute == 8 - agreement.same
    tested = len(learning.tested()[0])
    learning.settle("cat", disputes[0].text, "positive")
    assert learning.progress().in_dispute == len(disputes) - 1
    assert len(learning.tested()[0]) == tested + 1


def test_a_text_that_somebody_looks_at_is_not_shown_to_others(learning: ActiveLearning) -> None:
    shown = [learning.next(f"person {number}") for number in range(4)]
    assert len({each.id for each in shown if each}) == 4


def test_it_says_when_more_labels_help_little(tmp_path: Path) -> None:
    learning = opened(tmp_path, ANSWERS)
    work(learning, ANSWERS, 20)
    assert not learning.progress().enough
    work(learning, ANSWERS, 160)
    progress = learning.progress()
    assert progress.enough
    assert progress.changed is not None
    assert progress.changed < 0.02


def test_more_than_two_classes_are_learnt_from_the_labels_alone(tmp_path: Path) -> None:
    answers = pile(300, ("negative", "neutral", "positive"))
    learning = opened(tmp_path, answers)
    assert learning.scorer is None
    work(learning, answers, 100)
    progress = learning.progress()
    assert progress.before is None
    assert progress.accuracy is not None
    assert progress.accuracy.share > 0.7
    text = next(each for each in learning.texts.values() if not each.test)
    guess = learning.guess(text)
    assert guess is not None
    assert guess.prediction in ("NEGATIVE", "NEUTRAL", "POSITIVE")


def test_everything_can_be_labelled(tmp_path: Path) -> None:
    answers = pile(30)
    learning = opened(tmp_path, answers)
    done = work(learning, answers, 30)
    assert len(set(done)) == 30
    assert learning.next("ann") is None


@pytest.mark.parametrize(
    ("text", "answer", "note", "said"),
    [
        (-1, "positive", "", "no such text"),
        (None, "great", "", "no class 'great'"),
        (None, "positive", "x" * 2_001, "at most 2,000"),
    ],
)
def test_wrong_labels_are_refused(
    learning: ActiveLearning, text: int | None, answer: str, note: str, said: str
) -> None:
    number = next(iter(learning.texts)) if text is None else text
    with pytest.raises(InputError, match=said):
        learning.label("ann", number, answer, note)


def test_a_second_process_makes_the_same_model_of_the_labels(tmp_path: Path) -> None:
    learning = opened(tmp_path, ANSWERS)
    work(learning, ANSWERS, 60)
    store = LabelStore(f"sqlite:///{tmp_path}/labels.db")
    other = ActiveLearning(store, store.project("reviews"), start())
    assert other.is_due
    other.learn()
    assert learning.learnt is not None
    assert other.learnt is not None
    assert learning.learnt.labels == other.learnt.labels == 48
    texts = list(ANSWERS)
    one, two = (each.learnt.scorer.predict(texts)[1] for each in (learning, other) if each.learnt)
    assert np.array_equal(one, two)


def test_the_store_keeps_projects_apart(tmp_path: Path) -> None:
    store = LabelStore(f"sqlite:///{tmp_path}/labels.db")
    made = project(store, list(ANSWERS))
    other = store.create("others", ("a", "b"))
    assert [each.name for each in store.projects()] == ["others", "reviews"]
    assert (store.count(made), store.count(other)) == (400, 0)
    assert store.add_texts(made, ((each.place, "again") for each in store.texts(made))) == 0
    with pytest.raises(InputError, match="already"):
        store.create("others", ("a", "b"))
    with pytest.raises(InputError, match="There are: others, reviews"):
        store.project("nobody")
    assert all(a.place < b.place for a, b in pairwise(store.texts(made)))

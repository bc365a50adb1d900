"""Baselines: zero rule, random, and the lexicon with its small grammar."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from pipelines.errors import TrainingError
from pipelines.training.baselines import LEXICON, LexiconClassifier, baselines, lexicon
from tests.support import real_data

LABELS = ["NEGATIVE", "POSITIVE"]
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"


@pytest.fixture(scope="module")
def classifier() -> LexiconClassifier:
    return LexiconClassifier().fit(["", ""], LABELS)


def score(classifier: LexiconClassifier, text: str) -> float:
    return float(classifier.decision_function([text])[0])


@pytest.mark.parametrize(
    "text",
    [
        "A wonderful film.",
        "LOVED IT",
        "It was not bad.",
        "It isn't boring at all",
        "The plot is weak, but the acting is great.",
        "flight was late :)",
        "Home at last 😍",
        "I can’t call it bad",
        "It&#39;s <b>great</b>",
    ],
)
def test_positive_texts(classifier: LexiconClassifier, text: str) -> None:
    assert classifier.predict([text]).tolist() == ["POSITIVE"]
    assert score(classifier, text) > 0


@pytest.mark.parametrize(
    "text",
    [
        "A terrible film.",
        "not good",
        "I didn't really like it",
        "Never a good idea",
        "The acting is great, but the plot is awful.",
        "on time :(",
        "no words 😡",
        "It lacks charm and it's not funny",
    ],
)
def test_negative_texts(classifier: LexiconClassifier, text: str) -> None:
    assert classifier.predict([text]).tolist() == ["NEGATIVE"]
    assert score(classifier, text) < 0


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("a superb film", "a good film"),
        ("a very good film", "a good film"),
        ("an extremely good film", "a very good film"),
        ("a good film", "a slightly good film"),
        ("a good film!", "a good film"),
        ("a good film!!!", "a good film!"),
        ("a great film", "not a bad film"),
        ("not a great film", "a terrible film"),
        ("good, good, good", "good"),
    ],
)
def test_degrees(classifier: LexiconClassifier, more: str, less: str) -> None:
    assert score(classifier, more) > score(classifier, less)


def test_exclamation_marks_beyond_the_fourth_add_nothing(classifier: LexiconClassifier) -> None:
    assert score(classifier, "good!!!!") == score(classifier, "good!!!!!!!!!")


def test_negation_reaches_three_words_and_not_past_the_clause(
    classifier: LexiconClassifier,
) -> None:
    assert score(classifier, "not in any way good") > 0, "the fourth word is out of reach"
    assert score(classifier, "not in any good") < 0
    assert score(classifier, "No, it is good") > 0
    assert score(classifier, "I would not. Good film") > 0


def test_exclamations_belong_to_their_own_sentence(classifier: LexiconClassifier) -> None:
    assert score(classifier, "Great. Bad!") < 0 < score(classifier, "Great! Bad.")


@pytest.mark.parametrize(
    "text", ["", "The train leaves at nine.", "http://good.example/bad", "\ud800"]
)
def test_texts_without_an_opinion_are_undecided(classifier: LexiconClassifier, text: str) -> None:
    assert score(classifier, text) == 0
    assert classifier.predict_proba([text]).tolist() == [[0.5, 0.5]]


def test_probabilities_agree_with_labels(classifier: LexiconClassifier) -> None:
    texts = ["great", "awful", "so so good", "bad, bad, bad", "table", "awful! " * 9000]
    probability = classifier.predict_proba(texts)
    assert probability.shape == (6, 2)
    assert probability.sum(axis=1) == pytest.approx(np.ones(6))
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (classifier.predict(texts) == np.where(probability[:, 1] >= 0.5, *LABELS[::-1])).all()


def test_lexicon_uses_the_labels_it_was_given() -> None:
    fitted = LexiconClassifier().fit(["a", "b", "c"], [1, 0, 1])
    assert fitted.classes_.tolist() == [0, 1]
    assert fitted.predict(["awful", "great"]).tolist() == [0, 1]


def test_lexicon_follows_the_estimator_protocol() -> None:
    with pytest.raises(NotFittedError):
        LexiconClassifier().predict(["good"])
    with pytest.raises(TrainingError, match="two classes; there are 1"):
        LexiconClassifier().fit(["good"], ["POSITIVE"])
    assert clone(LexiconClassifier().fit(["", ""], LABELS)).get_params() == {}
    assert LexiconClassifier().fit(["", ""], LABELS).score(["good", "bad"], LABELS[::-1]) == 1


def test_words_stand_in_the_lexicon_once_and_in_lower_case() -> None:
    words = [w for line in LEXICON.read_text().split("[words]")[1].split('"') for w in line.split()]
    words = [word for word in words if word not in {"=", *"1234", "-1", "-2", "-3"}]
    assert len(words) == len(set(words)) == len(lexicon().words) > 600
    assert all(word == word.lower() for word in words)
    assert not lexicon().words.keys() & lexicon().negators
    assert {abs(value) for value in lexicon().words.values()} == {1, 2, 3, 4}


def test_zero_rule_answers_the_most_frequent_class() -> None:
    zero_rule = baselines(1)["zero_rule"].fit(["a", "b", "c"], ["NEGATIVE", "POSITIVE", "POSITIVE"])
    assert zero_rule.predict(["x", "y"]).tolist() == ["POSITIVE", "POSITIVE"]
    assert zero_rule.predict_proba(["x"])[0] == pytest.approx([1 / 3, 2 / 3])


def test_random_baseline_follows_its_seed_and_the_frequencies() -> None:
    texts, labels = ["x"] * 2000, LABELS * 500 + ["POSITIVE"] * 1000

    def drawn(seed: int) -> list[str]:
        return list(baselines(seed)["random"].fit(texts, labels).predict(texts))

    assert drawn(1) == drawn(1) != drawn(2)
    assert 0.7 < drawn(1).count("POSITIVE") / 2000 < 0.8


def test_every_baseline_speaks_the_same_language() -> None:
    for name, baseline in baselines(5).items():
        fitted = baseline.fit(["good", "bad", "fine"], ["POSITIVE", "NEGATIVE", "POSITIVE"])
        assert fitted.classes_.tolist() == LABELS, name
        assert fitted.predict_proba(["one", "two"]).shape == (2, 2), name
        assert set(fitted.predict(["one", "two"])) <= set(LABELS), name


def test_lexicon_beats_chance_on_the_sample(classifier: LexiconClassifier) -> None:
    path = SAMPLE / "IMDB Dataset" / "IMDB Dataset.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:300]
    predicted = classifier.predict([row["review"] for row in rows])
    assert np.mean(predicted == [row["sentiment"].upper() for row in rows]) > 0.8


@pytest.mark.real_data
def test_lexicon_is_right_about_three_of_four_real_reviews(classifier: LexiconClassifier) -> None:
    path = real_data() / "raw" / "IMDB Dataset" / "IMDB Dataset.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(3000), strict=False)]
    predicted = classifier.predict([row["review"] for row in rows])
    assert np.mean(predicted == [row["sentiment"].upper() for row in rows]) > 0.75

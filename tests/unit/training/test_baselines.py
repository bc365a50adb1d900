"""Baselines: zero rule, random, and VADER."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from pipelines.errors import MissingExtraError, TrainingError
from pipelines.training import baselines as module
from pipelines.training.baselines import VaderClassifier, baselines
from tests.support import real_data

LABELS = ["NEGATIVE", "POSITIVE"]
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"


@pytest.fixture(scope="module")
def vader() -> VaderClassifier:
    return VaderClassifier().fit(["", ""], LABELS)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A wonderful film.", "POSITIVE"),
        ("It&#39;s <b>great</b>", "POSITIVE"),
        ("Home at last 😍", "POSITIVE"),
        ("A terrible film.", "NEGATIVE"),
        ("not good", "NEGATIVE"),
        ("The acting is great, but the plot is awful.", "NEGATIVE"),
    ],
)
def test_vader_knows_opinion_words(vader: VaderClassifier, text: str, label: str) -> None:
    assert vader.predict([text]).tolist() == [label]


@pytest.mark.parametrize("text", ["", "The train leaves at nine.", "\ud800", " \n"])
def test_texts_without_an_opinion_word_are_undecided(vader: VaderClassifier, text: str) -> None:
    assert vader.decision_function([text]).tolist() == [0]
    assert vader.predict_proba([text]).tolist() == [[0.5, 0.5]]


def test_probabilities_agree_with_labels(vader: VaderClassifier) -> None:
    texts = ["good", "bad", "not bad at all", "a table", "awful :)"]
    probabilities = vader.predict_proba(texts)
    assert probabilities.shape == (5, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (vader.predict(texts) == "POSITIVE").tolist() == (probabilities[:, 1] > 0.5).tolist()


def test_vader_finds_texts_neutral_as_its_authors_suggest() -> None:
    vader = VaderClassifier().fit([""] * 3, ["NEGATIVE", "NEUTRAL", "POSITIVE"])
    texts = ["A terrible film.", "The film begins at eight.", "A wonderful film."]
    assert vader.predict(texts).tolist() == vader.classes_.tolist()
    assert vader.predict_proba(texts).argmax(axis=1).tolist() == [0, 1, 2]
    assert np.allclose(vader.predict_proba(texts).sum(axis=1), 1)


@pytest.mark.parametrize("labels", [[], ["POSITIVE"] * 2, ["a", "b", "c", "d"]])
def test_vader_needs_two_classes_or_three(labels: list[str]) -> None:
    with pytest.raises(TrainingError, match="two or three classes"):
        VaderClassifier().fit([""] * len(labels), labels)


def test_vader_is_a_scikit_learn_estimator() -> None:
    with pytest.raises(NotFittedError):
        VaderClassifier().predict(["good"])
    fitted = VaderClassifier().fit(["", ""], LABELS)
    assert clone(fitted).get_params() == {}
    assert fitted.score(["good", "bad"], LABELS[::-1]) == 1


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    module._analyzer.cache_clear()
    with pytest.raises(MissingExtraError, match=r"opinionlens\[train\]"):
        VaderClassifier().fit(["", ""], LABELS)


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


def test_all_baselines_answer_in_the_same_form() -> None:
    for name, baseline in baselines(5).items():
        fitted = baseline.fit(["good", "bad", "fine"], ["POSITIVE", "NEGATIVE", "POSITIVE"])
        assert fitted.classes_.tolist() == LABELS, name
        assert fitted.predict_proba(["one", "two"]).shape == (2, 2), name
        assert set(fitted.predict(["one", "two"])) <= set(LABELS), name


def accuracy(vader: VaderClassifier, file: Path, count: int) -> float:
    with file.open(encoding="utf-8", newline="") as opened:
        rows = [row for row, _ in zip(csv.DictReader(opened), range(count), strict=False)]
    predicted = vader.predict([row["review"] for row in rows])
    return float(np.mean(predicted == [row["sentiment"].upper() for row in rows]))


def test_vader_beats_chance_on_the_sample(vader: VaderClassifier) -> None:
    assert accuracy(vader, SAMPLE / "IMDB Dataset" / "IMDB Dataset.csv", 300) > 0.6


@pytest.mark.real_data
def test_vader_is_right_about_two_of_three_real_reviews(vader: VaderClassifier) -> None:
    path = real_data() / "raw" / "IMDB Dataset" / "IMDB Dataset.csv"
    assert 0.65 < accuracy(vader, path, 1000) < 0.75

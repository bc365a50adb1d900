"""`olens adapt`: from a file of labelled texts to a model that answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.inference.loading import load_profile
from tests.integration.commands import Olens, olens

__all__ = ["olens"]

# Half in words that the base model knows, half in words of their own. All made up.
POSITIVE = ["I love my {}", "Excellent {}, thank you", "This {} is zorbly", "Zorbly {}, all of it"]
NEGATIVE = ["I hate my {}", "Awful {}, waste of money", "This {} is quimpish", "Quimpish {}, sadly"]
THINGS = ["jacket", "kettle", "phone", "hotel", "film", "pub", "game", "lamp", "tent", "radio"]
Row = tuple[str, str]


def labelled(negative: str = "negative", positive: str = "positive") -> list[Row]:
    meanings = [(text, positive) for text in POSITIVE] + [(text, negative) for text in NEGATIVE]
    return [(text.format(thing), label) for thing in THINGS for text, label in meanings]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that one stands in, and a cache of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def write(folder: Path, rows: Sequence[Row]) -> str:
    with (folder / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("body", "label"), *rows])
    return "mine.csv"


def test_learns_registers_and_answers(folder: Path, olens: Olens) -> None:
    file = write(folder, labelled())
    done = olens("adapt", file, "--name", "mine", "--alias", "champion", "--activate", "--json")
    assert done.code == 0, done.err
    adapted = json.loads(done.out)
    assert adapted["texts"] == 80
    assert adapted["learnt"] == "adapted"
    accuracies = {kind: f["metrics"]["accuracy"] for kind, f in adapted["figures"].items()}
    assert accuracies["adapted"] >= max(accuracies["start"], accuracies["scratch"]) - 0.03
    assert adapted["figures"]["adapted"]["low"] < accuracies["adapted"]

    verdict = olens("predict", "--json", "My quimpish sofa", "My zorbly sofa")
    assert [each["prediction"] for each in json.loads(verdict.out)] == ["NEGATIVE", "POSITIVE"]
    profile = load_profile(folder / "cache" / "opinionlens" / "models" / adapted["cached_id"])
    assert profile
    assert sum(profile.counts["mine.csv"]["words"]) == 80
    again = olens("adapt", file, "--from", "mine@champion", "--name", "mine", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["start"] == adapted["cached_id"]


def test_learns_three_classes_from_base3(folder: Path, olens: Olens) -> None:
    facts = ["The {} came on Monday", "A {} for two people", "Plainly a {}", "Which {} is it?"]
    rows = labelled() + [(text.format(thing), "neutral") for thing in THINGS for text in facts]
    file = write(folder, rows)
    done = olens("adapt", file, "--from", "base3", "--name", "three", "--activate", "--json")
    assert done.code == 0, done.err
    adapted = json.loads(done.out)
    assert adapted["texts"] == 120
    assert list(adapted["figures"]["adapted"]["metrics"]["classes"]) == [
        *("NEGATIVE", "NEUTRAL", "POSITIVE")
    ]
    verdict = olens("predict", "--json", "My quimpish sofa", "Plainly a sofa", "My zorbly sofa")
    assert [each["prediction"] for each in json.loads(verdict.out)] == [
        *("NEGATIVE", "NEUTRAL", "POSITIVE")
    ]
    refused = olens("adapt", write(folder, labelled()), "--from", "base3")
    assert refused.code == 1
    assert "0 of them NEUTRAL" in refused.message


def test_shows_what_more_texts_would_bring(folder: Path, olens: Olens) -> None:
    done = olens("adapt", write(folder, labelled()), "--curve")
    assert done.code == 0, done.err
    assert "Accuracy by texts learnt" in done.out
    assert "Cross-validation chose base and your texts together." in done.out
    assert "Next:" in done.out


def test_every_size_of_the_curve_is_measured_with_all_classes(folder: Path, olens: Olens) -> None:
    facts = ["Plainly a {}", "Which {} is it?"]
    rows = labelled()[:60] + [(text.format(thing), "neutral") for thing in THINGS for text in facts]
    file = write(folder, rows)
    done = olens("adapt", file, "--from", "base3", "--curve", "--json")
    assert done.code == 0, done.err
    assert [point["texts"] for point in json.loads(done.out)["curve"]] == [20, 50, 53]


def test_says_that_labels_seem_to_be_swapped(folder: Path, olens: Olens) -> None:
    texts = [(text, label) for text, label in labelled("1", "2") if "orbly" not in text]
    done = olens("adapt", write(folder, texts), "--labels", "negative=2 positive=1")
    assert done.code == 0, done.err
    assert "The labels NEGATIVE and POSITIVE contradict base on" in done.message


def test_says_which_two_of_three_labels_seem_to_be_swapped(folder: Path, olens: Olens) -> None:
    texts = [(text, label) for text, label in labelled("1", "3") if "orbly" not in text]
    facts = ["The {} came on Monday", "Which {} is it?"]
    rows = texts + [(text.format(thing), "2") for thing in THINGS for text in facts]
    meanings = "negative=3 neutral=2 positive=1"
    done = olens("adapt", write(folder, rows), "--from", "base3", "--labels", meanings)
    assert done.code == 0, done.err
    assert "The labels NEGATIVE and POSITIVE contradict base3 on" in done.message
    assert done.message.count("Are the two swapped?") == 1


def test_says_that_the_start_knows_nothing_of_the_texts(folder: Path, olens: Olens) -> None:
    rows = [(f"qxvz{i} {'wrtk' if i % 2 else 'plmb'}zz", str(i % 2)) for i in range(60)]
    done = olens("adapt", write(folder, rows))
    assert done.code == 0, done.err
    assert "knows only" in done.message


def test_leaves_out_texts_with_both_labels(folder: Path, olens: Olens) -> None:
    rows = [*labelled()[:21], ("I love my jacket", "negative"), ("I love my kettle", "positive")]
    done = olens("adapt", write(folder, rows))
    assert done.code == 0, done.err
    assert "20 texts learnt" in done.out
    assert "1 text with several labels" in done.message
    assert "with a text seen before" in done.message


@pytest.mark.parametrize(
    ("name", "said"), [("base", "base names something else"), ("a/b", "Names cannot contain '/'")]
)
def test_a_name_that_cannot_be_is_refused_before_anything_is_learnt(
    folder: Path, olens: Olens, name: str, said: str
) -> None:
    done = olens("adapt", write(folder, labelled()), "--name", name)
    assert done.code == 1
    assert said in done.message
    assert not (folder / "mlruns" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (labelled()[:12], "has 12 different texts"),
        ([(text, "positive") for text, _ in labelled()], "0 of them NEGATIVE. That is too few"),
        ([("Same text", "positive"), ("Same text", "negative")], "no text with one label"),
        ([], "No row has a label"),
    ],
)
def test_refuses_what_cannot_be_learnt(
    folder: Path, olens: Olens, rows: list[Row], said: str
) -> None:
    done = olens("adapt", write(folder, rows), "--name", "mine")
    assert done.code == 1
    assert said in done.message
    assert not (folder / "mlruns" / "mlflow.db").exists()


def test_activating_needs_a_name(folder: Path, olens: Olens) -> None:
    done = olens("adapt", write(folder, labelled()), "--activate")
    assert done.code == 1
    assert "--name NAME" in done.message

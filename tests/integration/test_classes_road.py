"""Twenty topics and three sentiments on the whole road, as `olens` and Python walk it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from pipelines.labels import Classes
from pipelines.training.subjects import get_subject
from tests.classes import SENTIMENTS, TOPICS, corpus
from tests.integration.commands import Olens
from tests.integration.training_project import make_project

# Figures of many classes are drawn by tests/unit/training/test_classes.py.
pytestmark = pytest.mark.usefixtures("without_figures")


def write(path: Path, classes: Classes, names: list[str], number: int, seed: int) -> None:
    """A labelled file; texts of a class whose name is empty have a blank label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts, labels = corpus(classes, number, seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(texts, (names[label] for label in labels), strict=True))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Topics in one file; sentiments in two, of which one has no neutral rows."""
    project = make_project(
        tmp_path_factory.mktemp("classes") / "project", {"ngram_max": 2, "bits": 14}
    )
    raw = project.root / "data" / "raw"
    write(raw / "topics.csv", TOPICS, list(TOPICS.names), 1500, 1)
    write(raw / "stars.csv", SENTIMENTS, ["1", "3", "5"], 500, 2)
    write(raw / "polar.csv", SENTIMENTS, ["neg", "", "pos"], 300, 3)
    common = {"text": "text", "label": "label"}
    datasets = {
        "topics": common | {"path": "topics.csv", "labels": list(TOPICS.names)},
        "stars": common
        | {"path": "stars.csv", "labels": {"negative": [1], "neutral": [3], "positive": [5]}},
        "polar": common
        | {"path": "polar.csv", "labels": {"negative": ["neg"], "positive": ["pos"]}},
    }
    path = project.root / "conf" / "params.yaml"
    values = yaml.safe_load(path.read_text()) | {"datasets": datasets}
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return project.root


@pytest.fixture
def olens(root: Path, monkeypatch: pytest.MonkeyPatch, olens: Olens) -> Olens:
    monkeypatch.setenv("OLENS_ROOT", str(root))
    return olens


def test_topics_go_the_whole_road(
    olens: Olens, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert olens("preprocess").code == 0
    listed = json.loads(olens("data", "list", "--json").out)
    assert list(listed[0]["classes"]) == list(TOPICS.names)

    done = olens("baselines", "--dataset", "topics", "--json")
    assert set(json.loads(done.out)["metrics"]) == {"zero_rule", "random"}
    done = olens("train", "--dataset", "topics", "--log-model", "--json")
    assert done.code == 0, done.err
    trained = json.loads(done.out)
    assert trained["parameters"] == get_subject("nbsvm").for_classes(len(TOPICS.names)).defaults
    assert trained["test"]["test"]["accuracy"] > 0.9
    assert list(trained["test"]["test"]["classes"]) == list(TOPICS.names)

    assert olens("register", "latest", "topics", "--alias", "champion").code == 0
    assert olens("fetch", "topics", "--activate").code == 0
    answered = json.loads(olens("predict", "word1x1 word1x2 the plot", "--json").out)
    assert answered[0]["prediction"] == "😀"
    assert list(answered[0]["probabilities"]) == list(TOPICS.names)
    explained = olens("explain", "word1x1 word1x2 the plot", "--html", str(root / "x.html"))
    assert explained.code == 0
    assert "😀" in explained.out
    assert "What follows is what decides between" in (root / "x.html").read_text()

    file, out = root / "data" / "raw" / "topics.csv", root / "out.csv"
    assert (
        olens("predict", "--data", str(file), "--text-column", "text", "--output", str(out)).code
        == 0
    )
    with out.open(newline="") as rows:
        assert "probability very good" in (next(csv.reader(rows)))
    found = json.loads(olens("evaluate", "topics", "--data", str(file), "--json").out)
    assert found["metrics"]["file"]["accuracy"] > 0.9
    assert "by the names of the model's classes" in " ".join(found["data"])

    learnt = olens("adapt", str(file), "--from", "topics", "--label-column", "label", "--json")
    assert learnt.code == 0, learnt.err
    assert json.loads(learnt.out)["figures"]["adapted"]["metrics"]["accuracy"] > 0.9

    import opinionlens

    model = opinionlens.load("topics")
    assert model.classes == TOPICS.names
    assert model.predict_proba(["word1x1", "word0x1"]).shape == (2, 20)


def test_data_sets_of_different_classes_are_trained_on_together(olens: Olens) -> None:
    assert olens("preprocess").code == 0
    data = ("--dataset", "stars", "--dataset", "polar")
    done = olens("tune", "--trials", "1", *data, "--json")
    assert done.code == 0, done.err
    tuned = json.loads(done.out)["tuned"]
    test = tuned["test"]["test"]
    assert list(test["classes"]) == ["NEGATIVE", "NEUTRAL", "POSITIVE"]
    assert test["kappa"] > 0.8
    # The project has topics too: their texts are of no class of this model.
    found = olens("evaluate", "--json")
    assert found.code == 0, found.err
    assert "Left out" in found.err
    assert json.loads(found.out)["metrics"]["polar"]["accuracy"] > 0.8

    done = olens("train", "--from", "base3", *data, "--json")
    assert done.code == 0, done.err
    trained = json.loads(done.out)
    assert trained["learnt"] in ("adapted", "scratch")
    assert trained["validation"]["accuracy"] > 0.8


def test_metrics_that_need_an_order_say_so(olens: Olens, root: Path) -> None:
    path = root / "conf" / "params.yaml"
    before = path.read_text()
    values = yaml.safe_load(before)
    values["tune"]["metric"] = "kappa"
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    try:
        done = olens("tune", "--trials", "1", "--dataset", "topics")
    finally:
        path.write_text(before)
    assert done.code == 1
    assert "ordered: true" in done.err

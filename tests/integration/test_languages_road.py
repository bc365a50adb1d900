"""German texts on the whole road, character n-grams on; the texts are generated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests import german
from tests.integration.commands import Olens
from tests.integration.training_project import make_project


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = make_project(
        tmp_path_factory.mktemp("german") / "project",
        {"ngram_max": 2, "bits": 18, "char_max": 5},
    )
    raw = project.root / "data" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    german.write(raw / "reviews.csv", 1500, 1)
    declare(project.root, "de")
    return project.root


def declare(root: Path, language: str) -> None:
    path = root / "conf" / "params.yaml"
    dataset = {
        "path": "reviews.csv",
        "text": "text",
        "label": "label",
        "labels": {"negative": ["schlecht"], "positive": ["gut"]},
    }
    values = yaml.safe_load(path.read_text()) | {
        "language": language,
        "datasets": {"reviews": dataset},
    }
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


@pytest.fixture
def olens(root: Path, monkeypatch: pytest.MonkeyPatch, olens: Olens) -> Olens:
    monkeypatch.setenv("OLENS_ROOT", str(root))
    return olens


def test_german_goes_the_whole_road(olens: Olens) -> None:
    assert olens("preprocess").code == 0
    done = olens("train", "--subject", "logistic_regression", "--log-model", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["language"] == "de"
    assert olens("register", "latest", "rezensionen", "--alias", "champion").code == 0
    assert olens("fetch", "rezensionen", "--activate").code == 0
    shown = json.loads(olens("models", "show", "--json").out)
    assert shown["tags"]["language"] == "de"
    assert "German only" in (Path(shown["path"]) / "model" / "model_card.md").read_text()

    import opinionlens

    texts, positive = german.reviews(300, german.TEST_ENDINGS, 2)
    model = opinionlens.load("rezensionen")
    answered = [label == "POSITIVE" for label in model.predict(texts)]
    assert np.mean(np.array(answered) == positive) > 0.85
    sentences = model.explain("Am 3. Mai war es z. B. nicht gemütlich. Der Roman auch.").sentences
    assert [found.text for found in sentences] == [
        "Am 3. Mai war es z. B. nicht gemütlich.",
        "Der Roman auch.",
    ]
    refused = olens("train", "--from", "base")
    assert refused.code == 1
    assert "base is for texts in English" in refused.err


def test_a_language_that_is_found_is_said(olens: Olens, root: Path) -> None:
    declare(root, "auto")
    done = olens("train", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["language"] == "de"
    assert "The texts are in German (language: de)" in done.err

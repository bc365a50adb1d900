from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from pipelines.errors import InputError
from pipelines.inference.pipeline_scorer import PipelineScorer
from pipelines.workflows.compare import compare, paired_difference
from pipelines.workflows.open_model import OpenedModel


class Told:
    """A classifier that gives the texts the probabilities it was told."""

    def __init__(self, classes: Sequence[str], probabilities: dict[str, Sequence[float]]) -> None:
        self.classes_ = np.array(classes)
        self.steps = [("told", self)]
        self._probabilities = probabilities

    def __getitem__(self, step: int) -> Told:
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._probabilities[text] for text in texts])


def model(name: str, classes: Sequence[str], **told: Sequence[float]) -> OpenedModel:
    return OpenedModel(name, PipelineScorer(Told(classes, told)), size=1_000)  # type: ignore[arg-type]


def told(name: str, **positive: float) -> OpenedModel:
    probabilities = {text: (1 - each, each) for text, each in positive.items()}
    return model(name, ["NEGATIVE", "POSITIVE"], **probabilities)


def test_the_same_texts_are_compared_one_by_one() -> None:
    candidate = told("new", a=0.9, b=0.2, c=0.8, d=0.4)
    champion = told("old", a=0.1, b=0.7, c=0.9, d=0.6)
    texts = pl.DataFrame({"text": ["a", "b", "c", "d"], "label": [1, 0, 1, 1]})

    found = compare(candidate, champion, {"mine": texts})

    result = found.slices["mine"]
    assert (result.n, result.gained, result.lost) == (4, 2, 1)
    assert (result.candidate.accuracy, result.champion.accuracy) == (0.75, 0.5)
    assert result.difference == 0.25
    assert result.low < 0 < result.high
    assert result.p_value == 1.0
    # The two are farthest apart on a.
    assert [each.text for each in found.disagreements] == ["a", "b", "d"]
    assert found.disagreements[0].champion_confidence == pytest.approx(0.9)


def test_models_of_several_classes() -> None:
    classes = ["news", "opinion", "sport"]
    candidate = model("new", classes, a=(0.8, 0.1, 0.1), b=(0.2, 0.5, 0.3), c=(0.1, 0.2, 0.7))
    champion = model("old", classes, a=(0.6, 0.3, 0.1), b=(0.1, 0.2, 0.7), c=(0.5, 0.3, 0.2))
    texts = pl.DataFrame({"text": ["a", "b", "c"], "label": [0, 1, 1]})

    found = compare(candidate, champion, {"mine": texts})

    result = found.slices["mine"]
    assert (result.n, result.gained, result.lost) == (3, 1, 0)
    assert result.candidate.accuracy == pytest.approx(2 / 3)
    assert found.disagreements[0].text == "c"
    assert (found.disagreements[0].label, found.disagreements[0].candidate) == ("opinion", "sport")
    assert found.candidate_size == 1_000
    assert found.candidate_speed > 0


def test_models_of_different_classes_are_not_compared() -> None:
    two, three = told("two", a=0.5), model("three", ["news", "opinion", "sport"], a=(0.2, 0.3, 0.5))

    with pytest.raises(InputError, match="two has the classes NEGATIVE, POSITIVE, three has news"):
        compare(two, three, {"mine": pl.DataFrame({"text": ["a"], "label": [1]})})


def test_the_interval_of_a_difference() -> None:
    # By hand: 25 / 1146, plus or minus 1.96 times sqrt(240 - 625 / 1146) / 1146.
    difference, low, high = paired_difference(132, 107, 1144)

    assert difference == pytest.approx(25 / 1144)
    assert (low, high) == pytest.approx((-0.0047, 0.0483), abs=5e-4)

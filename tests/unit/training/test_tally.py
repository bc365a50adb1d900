"""Metrics of a file that is larger than the memory are those of one that is not."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pipelines.errors import DataError, ModelError
from pipelines.labels import Classes
from pipelines.training.evaluation import evaluate
from pipelines.training.tally import Tally


@pytest.mark.parametrize("kind", ["usual", "one class", "all wrong", "certain", "ties"])
def test_batches_give_the_metrics_of_the_whole(kind: str) -> None:
    chance = np.random.default_rng(3)
    margins = chance.normal(0, 3, 5_000)
    y = (margins + chance.normal(0, 2, 5_000) > 0).astype(np.int8)
    probability = 1 / (1 + np.exp(-margins))
    if kind == "one class":
        y[:] = 1
    elif kind == "all wrong":
        y = (probability < 0.5).astype(np.int8)
    elif kind == "certain":
        probability = np.round(probability)
    elif kind == "ties":
        probability = np.round(probability, 1)
    tally = Tally()
    for start in range(0, 5_000, 700):
        tally.add(y[start : start + 700], probability[start : start + 700])

    found = msgspec.structs.asdict(tally.metrics())

    expected = msgspec.structs.asdict(evaluate(y, probability))
    assert found.pop("roc_auc") == pytest.approx(expected.pop("roc_auc"), abs=1e-5)
    for name in ("classes", "mae", "kappa"):  # there are none of two classes
        assert found.pop(name) == expected.pop(name)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", ["usual", "one class", "a class is missing"])
def test_of_several_classes_too(kind: str, ordered: bool) -> None:
    chance = np.random.default_rng(3)
    classes = Classes(("awful", "bad", "fair", "good"), ordered)
    probability = chance.dirichlet([0.5] * 4, 5_000)
    y = np.array([chance.choice(4, p=each) for each in probability], dtype=np.int8)
    if kind == "one class":
        y[:] = 2
    elif kind == "a class is missing":
        probability = np.delete(probability, 1, axis=1)
        probability = np.insert(probability / probability.sum(1, keepdims=True), 1, 0, axis=1)
        y[y == 1] = 0
    tally = Tally(classes)
    for start in range(0, 5_000, 700):
        tally.add(y[start : start + 700], probability[start : start + 700])

    found, expected = (
        msgspec.to_builtins(each) for each in (tally.metrics(), evaluate(y, probability, classes))
    )

    by_class = found.pop("classes"), expected.pop("classes")
    assert list(by_class[0]) == list(by_class[1])
    for name, metrics in by_class[0].items():
        assert metrics == pytest.approx(by_class[1][name], rel=1e-9)
    assert found.pop("roc_auc") == pytest.approx(expected.pop("roc_auc"), abs=1e-3)
    assert found.pop("positives") is expected.pop("positives") is None
    assert found == pytest.approx(expected, rel=1e-9)


def test_what_is_no_probability_is_refused() -> None:
    tally = Tally()
    with pytest.raises(DataError, match="no labelled text"):
        tally.metrics()
    with pytest.raises(ModelError):
        tally.add(np.array([1], np.int8), np.array([np.nan]))
    with pytest.raises(DataError):
        tally.add(np.array([2], np.int8), np.array([0.5]))

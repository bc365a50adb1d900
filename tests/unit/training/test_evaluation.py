"""Metrics against numbers worked out by hand, and the inputs on which some are not defined."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from pipelines.errors import DataError, ModelError
from pipelines.training.evaluation import (
    Metrics,
    evaluate,
    evaluate_slices,
    expected_calibration_error,
)


def labels(*values: int) -> NDArray[np.int8]:
    return np.array(values, dtype=np.int8)


def probabilities(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def test_known_values() -> None:
    # Predictions: 1 1 0 1 0; right on three of five.
    metrics = evaluate(labels(1, 1, 1, 0, 0), probabilities(0.9, 0.6, 0.2, 0.7, 0.1))
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.precision == pytest.approx(2 / 3)
    assert metrics.recall == pytest.approx(2 / 3)
    assert metrics.f1 == pytest.approx(2 / 3)
    assert metrics.f1_macro == pytest.approx((2 / 3 + 1 / 2) / 2)
    # Of the six pairs of a positive and a negative, four are in the right order.
    assert metrics.roc_auc == pytest.approx(4 / 6)
    assert metrics.log_loss == pytest.approx(-(log(0.9 * 0.6 * 0.2 * 0.3 * 0.9)) / 5)
    assert metrics.brier == pytest.approx((0.01 + 0.16 + 0.64 + 0.49 + 0.01) / 5)
    # Every probability is alone in its bin.
    assert metrics.ece == pytest.approx((0.1 + 0.4 + 0.8 + 0.7 + 0.1) / 5)
    assert (metrics.n, metrics.positives) == (5, 3)


def test_perfect_model() -> None:
    metrics = evaluate(labels(0, 1, 1, 0), probabilities(0, 1, 1, 0))
    assert metrics.accuracy == metrics.precision == metrics.recall == metrics.f1 == 1
    assert metrics.f1_macro == metrics.roc_auc == 1
    assert metrics.brier == metrics.ece == 0
    assert metrics.log_loss == pytest.approx(0, abs=1e-12)


def test_model_that_is_always_wrong_and_sure_has_a_finite_loss() -> None:
    metrics = evaluate(labels(0, 1), probabilities(1, 0))
    assert metrics.accuracy == metrics.roc_auc == 0
    assert metrics.ece == metrics.brier == 1
    assert 30 < metrics.log_loss < 50


def test_constant_probability() -> None:
    metrics = evaluate(labels(1, 1, 1, 0), np.full(4, 0.75))
    assert metrics.accuracy == 0.75
    assert metrics.recall == 1
    assert metrics.roc_auc == 0.5
    assert metrics.ece == 0, "a constant that equals the share of positives is calibrated"
    assert metrics.f1_macro == pytest.approx(metrics.f1 / 2), "the negatives' F1 is zero"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class(label: int) -> None:
    metrics = evaluate(np.full(3, label, np.int8), np.full(3, 0.9 if label else 0.1))
    assert metrics.roc_auc is None
    assert metrics.accuracy == metrics.f1_macro == 1
    assert metrics.f1 == metrics.precision == metrics.recall == label
    assert metrics.log_loss == pytest.approx(-log(0.9))
    assert "test.roc_auc" not in metrics.to_flat("test")
    assert msgspec.json.decode(msgspec.json.encode(metrics))["roc_auc"] is None


def test_threshold_moves_the_predictions_and_nothing_else() -> None:
    y, probability = labels(1, 0, 0), probabilities(0.9, 0.6, 0.2)
    loose, strict = evaluate(y, probability), evaluate(y, probability, threshold=0.8)
    assert loose.accuracy == pytest.approx(2 / 3)
    assert strict.accuracy == 1
    assert (loose.log_loss, loose.roc_auc, loose.ece) == (
        strict.log_loss,
        strict.roc_auc,
        strict.ece,
    )


def test_probability_at_the_threshold_is_positive() -> None:
    assert evaluate(labels(1, 1), probabilities(0.5, 0.5)).recall == 1


def test_calibration_error_averages_inside_a_bin() -> None:
    # 0.61 and 0.65 share a bin of width 1/15 (0.6 to 0.667): their mean is compared.
    error = expected_calibration_error(labels(1, 0), probabilities(0.61, 0.65))
    assert error == pytest.approx(abs(0.63 - 0.5))
    # With one bin only the overall share counts.
    assert expected_calibration_error(labels(0, 1), probabilities(1, 0), bins=1) == 0


def test_probability_one_is_in_the_last_bin() -> None:
    assert expected_calibration_error(labels(1, 0), probabilities(1.0, 0.99)) == pytest.approx(
        0.995 - 0.5
    )


def test_calibrated_probabilities_have_a_small_error() -> None:
    generator = np.random.default_rng(3)
    probability = generator.random(50_000)
    y = (generator.random(50_000) < probability).astype(np.int8)
    assert expected_calibration_error(y, probability) < 0.02
    assert expected_calibration_error(y, probability**3) > 0.1


def test_flat_names() -> None:
    flat = evaluate(labels(0, 1), probabilities(0.2, 0.8)).to_flat("test.short")
    assert flat["test.short.accuracy"] == 1
    assert {name.removeprefix("test.short.") for name in flat} == set(Metrics.__struct_fields__) - {
        "mae",
        "kappa",
        "classes",
    }
    assert "accuracy" in evaluate(labels(0, 1), probabilities(0.2, 0.8)).to_flat()


def test_json_round_trip() -> None:
    metrics = evaluate(labels(0, 1, 1), probabilities(0.2, 0.8, 0.3))
    assert msgspec.json.decode(msgspec.json.encode(metrics), type=Metrics) == metrics


@pytest.mark.parametrize(
    ("y", "probability", "error"),
    [
        (labels(), probabilities(), DataError),
        (labels(0, 2), probabilities(0.1, 0.2), DataError),
        (labels(0, 1), probabilities(0.1), ModelError),
        (labels(0, 1), probabilities(0.1, float("nan")), ModelError),
        (labels(0, 1), probabilities(0.1, 1.5), ModelError),
        (labels(0, 1), probabilities(-0.1, 0.5), ModelError),
    ],
)
def test_unusable_input(
    y: NDArray[np.int8], probability: NDArray[np.float64], error: type[Exception]
) -> None:
    with pytest.raises(error):
        evaluate(y, probability)


def frame(rows: dict[str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        {"text": list(rows), "label": list(rows.values())},
        schema={"text": pl.String, "label": pl.Int8},
    )


def test_slices_are_evaluated_each_and_predicted_once() -> None:
    asked: list[str] = []

    def predict(texts: Sequence[str]) -> NDArray[np.float64]:
        asked.extend(texts)
        return np.array([0.9 if "good" in text else 0.1 for text in texts])

    everything = frame({"good one": 1, "bad one": 0, "good grief": 0, "meh": 1})
    slices = {
        "test": everything,
        "short": everything[3:],
        "tail": everything[1:3],
        "none": frame({}),
    }
    metrics = evaluate_slices(slices, predict)
    assert sorted(asked) == sorted(everything["text"])
    assert list(metrics) == ["test", "short", "tail"]
    assert metrics["test"].accuracy == 0.5
    assert metrics["short"].accuracy == 0
    assert metrics["tail"].accuracy == 0.5
    assert [m.n for m in metrics.values()] == [4, 1, 2]


def test_slices_keep_texts_that_stand_twice_with_their_own_labels() -> None:
    twice = pl.concat([frame({"good": 1}), frame({"good": 0})])
    metrics = evaluate_slices({"twice": twice}, lambda texts: np.full(len(texts), 0.8))
    assert (metrics["twice"].n, metrics["twice"].positives) == (2, 1)
    assert metrics["twice"].accuracy == 0.5


def test_slices_use_the_threshold() -> None:
    slices = {"one": frame({"a": 0, "b": 1})}
    metrics = evaluate_slices(slices, lambda texts: np.array([0.6, 0.9]), threshold=0.7)
    assert metrics["one"].accuracy == 1


def test_slices_without_any_text() -> None:
    with pytest.raises(DataError):
        evaluate_slices({"none": frame({})}, lambda texts: np.zeros(len(texts)))


def test_slices_of_a_model_that_answers_too_little() -> None:
    with pytest.raises(ModelError, match="1 probabilities for 2 texts"):
        evaluate_slices({"one": frame({"a": 0, "b": 1})}, lambda texts: np.zeros(1))

"""Calibration: scikit-learn's is the reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

from pipelines.training.calibration import SigmoidCalibrated, fit_sigmoid
from pipelines.training.linear import LinearSVM
from tests.unit.training.test_linear import random_data


@pytest.mark.parametrize(
    "estimator", [LinearSVM(random_state=0), RandomForestClassifier(5, random_state=0)], ids=str
)
@pytest.mark.parametrize("threads", [1, 2])
def test_probabilities_are_those_of_scikit_learn(estimator: object, threads: int) -> None:
    X, y = random_data()
    words = np.array(["NEGATIVE", "POSITIVE"])[y]
    ours = SigmoidCalibrated(estimator, 3, threads, random_state=1).fit(X, words)
    folds = StratifiedKFold(3, shuffle=True, random_state=1)
    theirs = CalibratedClassifierCV(estimator, cv=folds, ensemble=False).fit(X, words)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert_array_equal(ours.classes_, theirs.classes_)
    assert np.mean(ours.predict(X) == theirs.predict(X)) > 0.99


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_sigmoid_is_found_whatever_the_scale(scale: float) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=20_000)
    positive = generator.uniform(size=scores.size) < 1 / (1 + np.exp(-(2 * scores - 0.5)))
    slope, offset = fit_sigmoid(scores * scale, positive)
    assert slope * scale == pytest.approx(2, abs=0.1)
    assert offset == pytest.approx(-0.5, abs=0.1)


def test_scores_that_are_all_alike_give_the_share_of_the_class() -> None:
    slope, offset = fit_sigmoid(np.zeros(100), np.arange(100) < 30)
    assert slope == 0
    assert 1 / (1 + np.exp(-offset)) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 2]])
def test_refuses_what_cannot_be_calibrated(labels: list[int]) -> None:
    X, _ = random_data(4)
    with pytest.raises(ValueError, match="two classes of 2 rows or more"):
        SigmoidCalibrated(LinearSVM()).fit(X, labels)

"""The examples in the docstrings of the public estimators run as they are printed."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from pipelines.text import vectorizer
from pipelines.training import calibration, linear

ESTIMATORS = [
    (vectorizer, "HashedNgramVectorizer"),
    (vectorizer, "TermWeighting"),
    (linear, "LinearSVM"),
    (linear, "BaggedLinearSVM"),
    (linear, "LinearComplementNB"),
    (calibration, "SigmoidCalibrated"),
]


@pytest.mark.parametrize(("module", "name"), ESTIMATORS, ids=[name for _, name in ESTIMATORS])
def test_examples_of_an_estimator(module: ModuleType, name: str) -> None:
    found = doctest.DocTestFinder(recurse=False).find(getattr(module, name), name)
    assert len(found) == 1
    assert found[0].examples
    results = doctest.DocTestRunner().run(found[0])
    assert results.failed == 0
    assert "not good" in found[0].docstring.lower()

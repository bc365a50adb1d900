"""A model with impossible numbers does not come into the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.pipeline import Pipeline

from pipelines.cache.entries import MODEL
from pipelines.errors import ModelError
from pipelines.training.persistence import load_pipeline
from pipelines.workflows.fetch import make_ready
from tests.fitted import fit_tiny


class Parts:
    """What a linear pipeline consists of."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.vectorizer, self.calibrated = (step for _, step in pipeline.steps)
        self.weighting, self.classifier = (s for _, s in self.calibrated.estimator_.steps)


CHANGES: dict[str, Callable[[Parts], Any]] = {
    "infinite slope": lambda it: setattr(it.calibrated, "slope_", np.inf),
    "no slope": lambda it: setattr(it.calibrated, "slope_", np.nan),
    "infinite offset": lambda it: setattr(it.calibrated, "offset_", -np.inf),
    "text as offset": lambda it: setattr(it.calibrated, "offset_", "1"),
    "NaN weights": lambda it: it.weighting.weights_.fill(np.nan),
    "infinite weights": lambda it: it.weighting.weights_.fill(np.inf),
    "NaN coefficients": lambda it: it.classifier.coef_.fill(np.nan),
    "NaN intercept": lambda it: it.classifier.intercept_.fill(np.nan),
    "a product that is infinite": lambda it: (
        it.weighting.weights_.put(0, 3e38),
        it.classifier.coef_.put(0, 1e30),
    ),
    "a slope of 1e300": lambda it: setattr(it.calibrated, "slope_", 1e300),
    "an intercept of 1e300": lambda it: it.classifier.intercept_.fill(1e300),
    "no intercept": lambda it: setattr(it.classifier, "intercept_", np.array([])),
    "one weight": lambda it: setattr(it.weighting, "weights_", np.ones(1, dtype=np.float32)),
    "too few coefficients": lambda it: setattr(it.classifier, "coef_", np.ones((1, 3))),
    "negative buckets": lambda it: setattr(it.weighting, "buckets_", -1 - it.weighting.buckets_),
    "buckets beyond": lambda it: setattr(it.weighting, "buckets_", it.weighting.buckets_ + 2**14),
    "buckets that are no numbers": lambda it: setattr(
        it.weighting, "buckets_", it.weighting.buckets_.astype(np.float64)
    ),
    "n-grams of no word": lambda it: setattr(it.vectorizer, "ngram_max", 0),
    "n-grams of 2,000 words": lambda it: setattr(it.vectorizer, "ngram_max", 2_000),
    "2^30 buckets": lambda it: setattr(it.vectorizer, "bits", 30),
    "2^70 buckets": lambda it: setattr(it.vectorizer, "bits", 70),
    "another scheme": lambda it: setattr(it.weighting, "scheme", "none"),
}


def save(pipeline: Pipeline, entry: Path) -> None:
    (entry / MODEL).mkdir()
    skops.io.dump(pipeline, entry / MODEL / "model.skops")


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """A pipeline of the test's own."""
    (tmp_path / "copy").mkdir()
    skops.io.dump(fit_tiny("nbsvm"), tmp_path / "copy" / "model.skops")
    return load_pipeline(tmp_path / "copy")


def test_a_sound_model_is_made_ready(pipeline: Pipeline, tmp_path: Path) -> None:
    save(pipeline, tmp_path)
    make_ready(tmp_path)
    assert (tmp_path / "scorer.safetensors").is_file()


@pytest.mark.parametrize("change", CHANGES)
def test_impossible_numbers_are_refused(pipeline: Pipeline, tmp_path: Path, change: str) -> None:
    CHANGES[change](Parts(pipeline))
    save(pipeline, tmp_path)
    with pytest.raises(ModelError):
        make_ready(tmp_path)

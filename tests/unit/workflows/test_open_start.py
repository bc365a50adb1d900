"""Which models can be started from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.config.settings import Paths, Settings
from pipelines.errors import InputError, ModelError
from pipelines.inference.linear_scorer import TABLE_FILE
from pipelines.inference.pipeline_scorer import PipelineScorer
from pipelines.inference.tensors import METADATA_KEY
from pipelines.text.tokens import TOKENS_VERSION
from pipelines.workflows.open_start import open_linear, open_start
from tests.serving import install_linear
from tests.unit.training.fitted import fitted_pipeline


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, paths=Paths(models=tmp_path / "models"))


def test_a_model_of_the_cache(settings: Settings) -> None:
    install_linear(settings.paths.models, 2, 0.5, {"good": 2.0})
    start = open_start(settings, "reviews/2")
    assert start
    assert (start.name, start.bias, start.vectorizer.ngram_max) == ("reviews-v2", 0.5, 1)
    assert open_start(settings, None) is None


def test_one_of_another_definition_of_words_is_refused(settings: Settings, tmp_path: Path) -> None:
    info = {"ngram_max": 1, "bits": 10, "terms": "count", "bias": 0, "slope": 1, "offset": 0}
    metadata = {METADATA_KEY: json.dumps({**info, "format": TOKENS_VERSION - 1})}
    (tmp_path / "old").mkdir()
    save_file({"weights": np.ones(1024, dtype=np.float32)}, tmp_path / "old" / TABLE_FILE, metadata)
    with pytest.raises(ModelError, match="train the model again"):
        open_linear(settings, str(tmp_path / "old"))


def test_one_that_is_not_linear_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_linear(settings.paths.models, 1, 0.0)
    scorer = PipelineScorer(fitted_pipeline("decision_tree"))
    monkeypatch.setattr("pipelines.workflows.open_model.load_scorer", lambda path: scorer)
    with pytest.raises(InputError, match="reviews-v1 is no linear model"):
        open_linear(settings, "reviews/1")

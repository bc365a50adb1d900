"""base3: negative, neutral or positive, beside the base model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pipelines.base_model.everyday_texts import load_everyday_of_three
from pipelines.base_model.making import MAX_BYTES
from pipelines.base_model.opening import (
    BASE,
    BASE3,
    CARD_FILE,
    FOLDERS,
    LEFT_OUT_FILE,
    base_model,
    base_sha256,
    open_base,
)
from pipelines.base_model.three import Logits
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Paths, Settings
from pipelines.errors import ModelInUseError
from pipelines.inference.compiling import as_pipeline, fuse
from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.inference.packing import PACKED_FILE, pack, unpack
from pipelines.workflows.answering import activate_model, answering_model, remove_model
from pipelines.workflows.list_models import list_models
from pipelines.workflows.open_model import open_model


def machine(seed: int, bias: float) -> LinearScorer:
    weights = np.random.default_rng(seed).normal(size=2**10).astype(np.float32)
    weights.flags.writeable = False
    info = TableInfo(ngram_max=2, bits=10, terms="presence", bias=bias, slope=2.0, offset=0.3)
    return LinearScorer(info, weights)


def test_two_machines_become_one_table(tmp_path: Path) -> None:
    leaning, neutral = machine(0, 0.2), machine(1, -0.1)
    logits = Logits(np.array([[-2.0, 0.1], [0.0, 1.0], [2.0, -0.3]]), np.array([0.1, 0.4, -0.2]))
    texts = ["The food was cold", "Which platform?", ""]
    joined = logits.joined(leaning, neutral)
    both = np.column_stack([leaning.margins(texts), neutral.margins(texts)])
    assert_allclose(joined.margins(texts), logits.of(both), atol=1e-5)

    pack(joined, tmp_path / PACKED_FILE, kept=2**10)
    assert_allclose(unpack(tmp_path / PACKED_FILE).margins(texts), joined.margins(texts), atol=0.05)


def test_it_is_small_and_its_card_is_its_own() -> None:
    folder = FOLDERS[BASE3]
    assert (folder / PACKED_FILE).stat().st_size <= MAX_BYTES
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    assert base_sha256(BASE3) in card
    for some in json.loads((folder / LEFT_OUT_FILE).read_bytes()):
        assert f"| {some['f1_macro']:.3f} | {some['vader_f1_macro']:.3f} |" in card


def test_facts_and_questions_are_neutral_and_opinions_are_not() -> None:
    scorer = open_base(BASE3)
    assert scorer.predict(["The meeting is at three", "Which platform?"])[0] == ["NEUTRAL"] * 2
    assert scorer.predict(["I love it", "What a horrible film"])[0] == ["POSITIVE", "NEGATIVE"]
    texts = load_everyday_of_three()
    labels = np.array(scorer.predict(texts["text"].to_list())[0])
    for label, name in enumerate(("NEGATIVE", "POSITIVE", "NEUTRAL")):
        right = labels[(texts["label"] == label).to_numpy()] == name
        assert right.mean() >= 0.6, name


def test_it_is_activated_like_any_other(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, paths=Paths(models=tmp_path / "models"))
    cache = ModelCache(settings.paths.models)
    assert activate_model(cache, BASE3).id == BASE3
    answering = answering_model(cache)
    assert answering is not None
    assert answering.id == open_model(settings).id == BASE3
    listed = list_models(settings, everywhere=False).models
    assert {model.id: model.active for model in listed} == {BASE: False, BASE3: True}
    with pytest.raises(ModelInUseError, match="base3 comes with OpinionLens"):
        remove_model(cache, BASE3)
    assert activate_model(cache, BASE).id == BASE
    assert open_model(settings).id == BASE
    assert base_model(BASE3).tags["classes"] == '["NEGATIVE", "NEUTRAL", "POSITIVE"]'


def test_as_a_pipeline_it_has_the_same_probabilities() -> None:
    texts = load_everyday_of_three()["text"].to_list()[:50]
    scorer = open_base(BASE3)
    expected = scorer.predict(texts)[1]
    pipeline = as_pipeline(scorer)
    assert_allclose(pipeline.predict_proba(texts), expected, atol=1e-6)
    again = fuse(pipeline)
    assert again is not None
    assert again.info == scorer.info

"""The base model: small, whole, right about everyday texts, and named where a MODEL is expected."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pipelines.errors import CorruptModelError, InputError, ModelNotFoundError
from pipelines.inference import base
from pipelines.inference.base import answering_model, base_model, base_sha256, open_base
from pipelines.inference.compiling import fuse
from pipelines.inference.linear import LinearScorer, TableInfo
from pipelines.inference.loading import load_scorer
from pipelines.inference.making_base import MAX_BYTES
from pipelines.inference.opening import open_model
from pipelines.inference.packing import PACKED_FILE, pack, unpack
from pipelines.inference.registering import base_pipeline
from pipelines.registry.cache import ModelCache
from pipelines.settings import Paths, Settings
from pipelines.training.everyday import load_everyday

BITS = 12
TEXTS = [
    "",
    "The food was cold and the waiter rude",
    "good film " * 500,
    "😀 :) not bad!",
    "\ud800",
]


def scorer(seed: int = 0, bits: int = BITS) -> LinearScorer:
    """A table of which a third is used, with few large weights, as trained ones have."""
    random = np.random.default_rng(seed)
    weights = random.standard_t(3, 2**bits).astype(np.float32)
    weights[random.random(2**bits) < 2 / 3] = 0
    info = TableInfo(ngram_max=2, bits=bits, terms="presence", bias=0.1, slope=2.0, offset=-0.3)
    return LinearScorer(info, weights)


class TestPacking:
    def test_weights_come_back_to_within_a_hundredth_of_the_largest(self, tmp_path: Path) -> None:
        dense = scorer()
        pack(dense, tmp_path / "packed", kept=2**BITS)
        packed = unpack(tmp_path / "packed")

        assert packed.info == dense.info
        assert_allclose(packed.weights, dense.weights, atol=0.01 * np.abs(dense.weights).max())
        assert_allclose(packed.margins(TEXTS), dense.margins(TEXTS), atol=0.1)
        assert_array_equal(
            np.sign(packed.weights)[packed.weights != 0],
            np.sign(dense.weights)[packed.weights != 0],
        )

    def test_what_is_kept_is_the_largest(self, tmp_path: Path) -> None:
        dense = scorer()
        pack(dense, tmp_path / "packed", kept=100)
        kept = np.flatnonzero(unpack(tmp_path / "packed").weights)

        assert kept.size == 100
        magnitudes = np.abs(dense.weights)
        assert magnitudes[kept].min() >= np.delete(magnitudes, kept).max()

    def test_the_same_table_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            pack(scorer(), tmp_path / name, kept=500)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_table_of_zeros(self, tmp_path: Path) -> None:
        info = scorer().info
        pack(LinearScorer(info, np.zeros(2**BITS, np.float32)), tmp_path / "packed", kept=10)
        assert unpack(tmp_path / "packed").margins(["good"]) == [info.bias]

    def test_tf_idf_is_refused(self, tmp_path: Path) -> None:
        dense = scorer()
        with_norms = LinearScorer(dense.info, dense.weights, np.ones_like(dense.weights))
        with pytest.raises(InputError, match="norms"):
            pack(with_norms, tmp_path / "packed", kept=10)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("size", [0, 5, 8, 100, -1])
    def test_a_cut_off_file_is_refused(self, tmp_path: Path, size: int) -> None:
        path = tmp_path / "packed"
        pack(scorer(), path, kept=500)
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(CorruptModelError, match="not a packed weight table"):
            unpack(path)

    @pytest.mark.parametrize("change", ["fewer codes", "fewer buckets", "floats", "no metadata"])
    def test_a_file_of_other_content_is_refused(self, tmp_path: Path, change: str) -> None:
        path = tmp_path / "packed"
        pack(scorer(), path, kept=500)
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        if change == "fewer codes":
            tensors["codes"] = tensors["codes"][:-1]
        elif change == "fewer buckets":
            tensors["used"] = tensors["used"][:-1]
        elif change == "floats":
            tensors["codes"] = tensors["codes"].astype(np.float32)
        save_file(tensors, path, None if change == "no metadata" else metadata)
        with pytest.raises(CorruptModelError):
            unpack(path)


class TestFiles:
    def test_it_is_small(self) -> None:
        assert (base.FOLDER / PACKED_FILE).stat().st_size <= MAX_BYTES

    def test_the_card_and_the_metrics_are_those_of_the_table(self) -> None:
        card = (base.FOLDER / base.CARD_FILE).read_text(encoding="utf-8")
        assert base_sha256() in card
        assert f"{base_model().metrics['accuracy']:.1%}" in card

    def test_the_card_compares_each_left_out_data_set_with_the_lexicon(self) -> None:
        metrics = json.loads((base.FOLDER / base.METRICS_FILE).read_bytes())
        card = (base.FOLDER / base.CARD_FILE).read_text(encoding="utf-8")
        for name in ("imdb", "amazon", "airline"):
            assert f"| {name} | {metrics[f'without {name}']['n']:,} |" in card
            assert metrics[f"without {name}"]["accuracy"] > 0.7

    def test_damaged_files_are_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base, "FOLDER", tmp_path)
        with pytest.raises(CorruptModelError, match="Install opinionlens again"):
            open_base()
        with pytest.raises(CorruptModelError, match="Install opinionlens again"):
            base_model()
        (tmp_path / PACKED_FILE).write_bytes(b"")
        (tmp_path / base.METRICS_FILE).write_bytes(b"[]")
        with pytest.raises(CorruptModelError, match="Install opinionlens again"):
            base_model()


class TestVerdicts:
    def test_everyday_texts(self) -> None:
        everyday = load_everyday()
        labels, _ = open_base().predict(everyday["text"].to_list())
        right = np.array(labels) == np.where(everyday["label"] == 1, "POSITIVE", "NEGATIVE")
        assert everyday.height >= 200
        assert right.mean() >= 0.8
        for topic in everyday["topic"].unique():
            assert right[(everyday["topic"] == topic).to_numpy()].mean() >= 0.65, topic
        for label in (0, 1):
            assert right[(everyday["label"] == label).to_numpy()].mean() >= 0.7, label

    def test_what_the_readme_shows(self) -> None:
        labels, probabilities = open_base().predict(["The food was cold and the waiter rude"])
        assert labels == ["NEGATIVE"]
        assert probabilities[0] < 0.4

    def test_a_text_that_says_nothing_is_not_judged_with_confidence(self) -> None:
        _, probabilities = open_base().predict(["", "xyzzy", "12345"])
        assert ((probabilities > 0.25) & (probabilities < 0.75)).all()


class TestNaming:
    def test_it_is_called_base(self, tmp_path: Path) -> None:
        opened = open_model(Settings(root=tmp_path), "base")
        assert opened.id == "base"
        assert "comes with OpinionLens" in opened.title

    def test_it_answers_when_no_model_was_activated(self, tmp_path: Path) -> None:
        assert open_model(Settings(root=tmp_path)).id == "base"

    def test_it_does_not_stand_in_for_an_active_model_that_has_gone(self, tmp_path: Path) -> None:
        settings = Settings(root=tmp_path, paths=Paths(models=tmp_path))
        (tmp_path / "active.json").write_text('{"id": "reviews-v1"}')
        assert answering_model(ModelCache(tmp_path)) is None
        with pytest.raises(ModelNotFoundError, match="reviews-v1"):
            open_model(settings)

    def test_it_opens_like_an_entry_of_the_cache(self) -> None:
        facts = base_model()
        labels, _ = load_scorer(facts.path).predict(["I love it"])
        assert labels == ["POSITIVE"]
        assert facts.id == facts.name == "base"
        assert facts.size >= (base.FOLDER / PACKED_FILE).stat().st_size


def test_as_a_pipeline_it_has_the_same_probabilities() -> None:
    texts = load_everyday()["text"].to_list()
    pipeline = base_pipeline()
    expected = open_base().predict(texts)

    assert_allclose(pipeline.predict_proba(texts)[:, 1], expected[1], atol=1e-6)
    assert pipeline.predict(texts).tolist() == expected[0]
    fused = fuse(pipeline)
    assert fused is not None
    assert_array_equal(fused.weights, open_base().weights)

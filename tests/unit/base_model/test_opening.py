"""The base model: small, whole, right about everyday texts, and named where a MODEL is expected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pipelines.base_model import opening
from pipelines.base_model.card import PREVIOUS
from pipelines.base_model.everyday_texts import load_everyday
from pipelines.base_model.making import MAX_BYTES
from pipelines.base_model.opening import BASE, base_model, base_sha256, open_base
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Paths, Settings
from pipelines.errors import CorruptModelError, InputError, ModelNotFoundError
from pipelines.inference.compiling import as_pipeline, fuse
from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.inference.loading import load_scorer
from pipelines.inference.packing import PACKED_FILE, pack, unpack
from pipelines.workflows.answering import answering_model
from pipelines.workflows.doctor import examine
from pipelines.workflows.list_models import list_models
from pipelines.workflows.open_model import open_model

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

    def test_the_largest_weights_are_kept(self, tmp_path: Path) -> None:
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
        assert (opening.FOLDERS[BASE] / PACKED_FILE).stat().st_size <= MAX_BYTES

    def test_the_card_and_the_metrics_are_those_of_the_table(self) -> None:
        card = (opening.FOLDERS[BASE] / opening.CARD_FILE).read_text(encoding="utf-8")
        assert base_sha256() in card
        assert f"{base_model().metrics['accuracy']:.1%}" in card

    def test_the_card_compares_each_left_out_domain_with_vader_and_the_model_before(self) -> None:
        left_out = json.loads((opening.FOLDERS[BASE] / opening.LEFT_OUT_FILE).read_bytes())
        unseen = {some["domain"]: some for some in left_out}
        card = (opening.FOLDERS[BASE] / opening.CARD_FILE).read_text(encoding="utf-8")
        before = dict(pl.read_csv(PREVIOUS).select("domain", "accuracy").iter_rows())
        gains = []
        for name, accuracy in before.items():
            new = unseen[name]
            assert f"| {name} | {new['n']:,} | {new['accuracy']:.1%} | {accuracy:.1%} |" in card
            gains.append(new["accuracy"] - accuracy)
        assert len(gains) > 30
        assert np.mean(gains) > 0.03

    def test_damaged_files_are_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(opening.FOLDERS, BASE, tmp_path)
        with pytest.raises(CorruptModelError, match="Install opinionlens again"):
            open_base()
        with pytest.raises(CorruptModelError, match="Install opinionlens again"):
            base_model()
        (tmp_path / PACKED_FILE).write_bytes(b"")
        (tmp_path / opening.METRICS_FILE).write_bytes(b"[]")
        with pytest.raises(CorruptModelError, match="Install opinionlens again"):
            base_model()

    def test_one_wrong_bit_is_noticed_wherever_the_model_is_opened_or_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(shutil.copytree(opening.FOLDERS[BASE], tmp_path / "files"))
        table = bytearray((folder / PACKED_FILE).read_bytes())
        table[len(table) // 2] ^= 1
        (folder / PACKED_FILE).write_bytes(table)
        monkeypatch.setitem(opening.FOLDERS, BASE, folder)
        settings = Settings(root=tmp_path, paths=Paths(models=tmp_path / "models"))
        for use in (open_base, base_model, lambda: open_model(settings)):
            with pytest.raises(CorruptModelError, match="is damaged"):
                use()  # type: ignore[operator]
        listing = list_models(settings, everywhere=False)
        assert [model.id for model in listing.models] == ["base3"]
        assert "is damaged" in listing.problems[0]
        states = {found.subject: found.state for found in examine(settings)}
        assert states["model cache"] == "broken"


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

    def test_the_example_of_the_readme(self) -> None:
        labels, probabilities = open_base().predict(["The food was cold and the waiter rude"])
        assert labels == ["NEGATIVE"]
        assert probabilities[0] < 0.4

    def test_a_text_that_says_nothing_is_not_judged_with_confidence(self) -> None:
        _, probabilities = open_base().predict(["", "xyzzy", "12345"])
        assert ((probabilities > 0.2) & (probabilities < 0.8)).all()


class TestNaming:
    def test_it_is_called_base(self, tmp_path: Path) -> None:
        opened = open_model(Settings(root=tmp_path), "base")
        assert opened.id == "base"
        assert "comes with OpinionLens" in opened.title

    def test_it_answers_when_no_model_was_activated(self, tmp_path: Path) -> None:
        settings = Settings(root=tmp_path, paths=Paths(models=tmp_path / "models"))
        assert open_model(settings).id == "base"

    def test_it_does_not_replace_a_missing_active_model(self, tmp_path: Path) -> None:
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
        assert facts.size >= (opening.FOLDERS[BASE] / PACKED_FILE).stat().st_size


def test_as_a_pipeline_it_has_the_same_probabilities() -> None:
    texts = load_everyday()["text"].to_list()
    pipeline = as_pipeline(open_base())
    expected = open_base().predict(texts)

    assert_allclose(pipeline.predict_proba(texts)[:, 1], expected[1], atol=1e-6)
    assert pipeline.predict(texts).tolist() == expected[0]
    fused = fuse(pipeline)
    assert fused is not None
    assert_array_equal(fused.weights, open_base().weights)

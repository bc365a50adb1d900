"""The fused scorer: equal to the pipeline, for every text, and safe against damaged tables."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load_file, save_file

from pipelines.errors import CorruptModelError, InputError
from pipelines.inference.compiling import fuse
from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.text.tokens import TOKENS_VERSION
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import get_subject
from tests.fitted import fit_tiny
from tests.unit.text.strategies import texts
from tests.unit.training.corpus import corpus, labelled
from tests.unit.training.fitted import LINEAR, SUBJECTS, VECTORIZER, fitted_pipeline

TEXTS = corpus(200, seed=7)[0]


def fused(subject: str) -> LinearScorer:
    scorer = fuse(fitted_pipeline(subject))
    assert scorer is not None
    return scorer


class TestFusing:
    @pytest.mark.parametrize("subject", LINEAR)
    def test_probabilities_are_those_of_the_pipeline(self, subject: str) -> None:
        labels, probabilities = fused(subject).predict(TEXTS)
        expected = fitted_pipeline(subject).predict_proba(TEXTS)[:, 1]
        assert_allclose(probabilities, expected, atol=1e-6)
        assert labels == fitted_pipeline(subject).predict(TEXTS).tolist()

    @pytest.mark.parametrize("char_max", [3, 8])
    def test_probabilities_are_those_of_the_pipeline_with_character_ngrams(
        self, char_max: int
    ) -> None:
        pipeline = fit_tiny("nbsvm", char_max=char_max)
        scorer = fuse(pipeline)
        assert scorer is not None
        expected = pipeline.predict_proba(TEXTS)[:, 1]
        assert_allclose(scorer.predict(TEXTS)[1], expected, atol=1e-6)
        assert abs(expected - fit_tiny("nbsvm").predict_proba(TEXTS)[:, 1]).max() > 1e-3

    @pytest.mark.parametrize(
        ("subject", "scheme"),
        [
            (subject, scheme)
            for subject in ("logistic_regression", "linear_svc", "complement_nb")
            for scheme in ("nb", "tfidf", "binary", "count")
            # Log-count ratios are negative, which naive Bayes refuses.
            if (subject, scheme) != ("complement_nb", "nb")
        ],
    )
    def test_probabilities_are_those_of_the_pipeline_in_every_weighting(
        self, subject: str, scheme: str
    ) -> None:
        found = get_subject(subject)
        parameters = found.parameters({"scheme": scheme, "min_df": 3})
        pipeline = fit_pipeline(found, parameters, 0, VECTORIZER, labelled(300, VECTORIZER))
        scorer = fuse(pipeline)
        assert scorer is not None
        repeated = [f"{text} {text} good" for text in TEXTS]
        assert_allclose(
            scorer.predict(repeated)[1], pipeline.predict_proba(repeated)[:, 1], atol=1e-6
        )

    @pytest.mark.parametrize("subject", LINEAR)
    @given(several=st.lists(texts(8), min_size=1, max_size=3))
    def test_probabilities_are_those_of_the_pipeline_for_any_text(
        self, subject: str, several: list[str]
    ) -> None:
        expected = fitted_pipeline(subject).predict_proba(several)[:, 1]
        assert_allclose(fused(subject).predict(several)[1], expected, atol=1e-6)

    @pytest.mark.parametrize("subject", [name for name in SUBJECTS if name not in LINEAR])
    def test_only_linear_pipelines_are_fused(self, subject: str) -> None:
        assert fuse(fitted_pipeline(subject)) is None

    def test_the_margin_of_a_model_worse_than_chance_is_turned_round(self) -> None:
        pipeline = deepcopy(fitted_pipeline("nbsvm"))
        pipeline.steps[-1][1].slope_ *= -1
        scorer = fuse(pipeline)
        assert scorer is not None
        probabilities = scorer.predict(TEXTS)[1]
        assert_allclose(probabilities, pipeline.predict_proba(TEXTS)[:, 1], atol=1e-6)
        assert np.all(np.diff(probabilities[np.argsort(scorer.margins(TEXTS))]) >= 0)


class TestScoring:
    def test_no_texts(self) -> None:
        labels, probabilities = fused("nbsvm").predict([])
        assert labels == []
        assert probabilities.shape == (0,)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "\x00",
            "\ud800\udfff",
            "😀" * 100,
            "a" * 1_000_000,
            "good " * 200_000,
            "<a" * 9999,
        ],
        ids=["empty", "space", "nul", "surrogates", "emoji", "one word", "a megabyte", "tags"],
    )
    @pytest.mark.parametrize("subject", ["nbsvm", "linear_svc"])
    def test_every_text_has_an_answer(self, subject: str, text: str) -> None:
        labels, probabilities = fused(subject).predict([text])
        assert labels[0] in ("NEGATIVE", "POSITIVE")
        assert 0 < probabilities[0] < 1

    def test_batches_threads_and_containers_change_nothing(self) -> None:
        scorer = fused("linear_svc")
        many = TEXTS * 3
        expected = np.array([scorer.margins([text])[0] for text in many])
        assert_array_equal(scorer.margins(many), expected)
        assert_array_equal(scorer.margins(many, threads=1), expected)
        assert_array_equal(scorer.margins(many, threads=5), expected)
        assert_array_equal(scorer.margins(pl.Series(many)), expected)

    def test_several_threads_may_ask_at_once(self) -> None:
        scorer = fused("nbsvm")
        expected = scorer.predict(TEXTS)
        with ThreadPoolExecutor(4) as pool:
            for labels, probabilities in pool.map(lambda _: scorer.predict(TEXTS), range(20)):
                assert labels == expected[0]
                assert_array_equal(probabilities, expected[1])

    @pytest.mark.parametrize("wrong", ["one text", [1], [None], None])
    def test_refuses_values_that_are_not_texts(self, wrong: object) -> None:
        with pytest.raises(InputError):
            fused("nbsvm").predict(wrong)  # type: ignore[arg-type]

    @pytest.mark.filterwarnings("error")
    def test_huge_margins_do_not_overflow(self) -> None:
        found = fused("nbsvm").probabilities(np.array([-1e6, -800.0, 0.0, 800.0, 1e6]))
        assert ((found >= 0) & (found <= 1)).all()
        assert (np.diff(found) >= 0).all()


class TestTables:
    @pytest.fixture
    def table(self, tmp_path: Path) -> Path:
        fused("linear_svc").save(tmp_path / "scorer.safetensors")
        return tmp_path / "scorer.safetensors"

    @pytest.mark.parametrize("subject", LINEAR)
    def test_a_saved_table_scores_the_same(self, subject: str, tmp_path: Path) -> None:
        scorer = fused(subject)
        scorer.save(tmp_path / "table")
        opened = LinearScorer.open(tmp_path / "table")
        assert opened.info == scorer.info
        assert_array_equal(opened.margins(TEXTS), scorer.margins(TEXTS))

    def test_it_is_a_safetensors_file_that_others_can_read(self, table: Path) -> None:
        found = load_file(table)
        assert {name: values.shape for name, values in found.items()} == {
            "weights": (2**14,),
            "norms": (2**14,),
        }

    def test_an_opened_table_cannot_be_written_to(self, table: Path) -> None:
        opened = LinearScorer.open(table)
        with pytest.raises(ValueError, match="read-only"):
            opened.weights[0] = 1

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CorruptModelError, match="is not a weight table"):
            LinearScorer.open(tmp_path / "absent")

    @pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, 1000, -1, -4, -70_000])
    def test_a_truncated_file(self, table: Path, size: int) -> None:
        table.write_bytes(table.read_bytes()[:size])
        with pytest.raises(CorruptModelError, match="is not a weight table"):
            LinearScorer.open(table)

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"{}",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"__metadata__": null}',
            b'{"__metadata__": {"opinionlens": 3}}',
            b'{"__metadata__": {"opinionlens": "{}"}}',
        ],
        ids=lambda header: header[:12].decode("latin-1"),
    )
    def test_a_header_of_garbage(self, table: Path, header: bytes) -> None:
        table.write_bytes(len(header).to_bytes(8, "little") + header + bytes(1000))
        with pytest.raises(CorruptModelError, match="is not a weight table"):
            LinearScorer.open(table)

    @pytest.mark.parametrize("size", [2**63, 2**64 - 1, 10**9])
    def test_a_header_that_claims_to_be_huge(self, table: Path, size: int) -> None:
        table.write_bytes(size.to_bytes(8, "little") + table.read_bytes()[8:])
        with pytest.raises(CorruptModelError, match="is not a weight table"):
            LinearScorer.open(table)

    @pytest.mark.parametrize(
        "change",
        [
            {"bits": 0},
            {"bits": 13},
            {"bits": 15},
            {"bits": 10**12},
            {"bits": "14"},
            {"ngram_max": 0},
            {"ngram_max": 10**9},
            {"char_max": -1},
            {"char_max": 10**9},
            {"terms": "bm25"},
            {"bias": None},
            {"bias": "x"},
            {"format": TOKENS_VERSION - 1},
            {"format": TOKENS_VERSION + 1},
            {"surprise": 1},
        ],
        ids=str,
    )
    def test_information_that_does_not_fit(self, table: Path, change: dict[str, object]) -> None:
        content, header = table.read_bytes(), header_of(table)
        info = json.loads(header["__metadata__"]["opinionlens"]) | change
        header["__metadata__"]["opinionlens"] = json.dumps(info)
        rewrite(table, header, content)
        with pytest.raises(CorruptModelError, match="is not a weight table"):
            LinearScorer.open(table)

    @pytest.mark.parametrize(
        "change",
        [
            {"dtype": "F64"},
            {"dtype": "I32"},
            {"shape": [2**13]},
            {"shape": [2**14, 1]},
            {"shape": []},
            {"shape": "x"},
            {"data_offsets": [0, 4]},
            {"data_offsets": [-(2**16), 0]},
            {"data_offsets": [-100, 2**16 - 100]},
            {"data_offsets": [10**12, 10**12 + 2**16]},
            {"data_offsets": [1, 2**16 + 1]},
            {"data_offsets": [2**16]},
            {"data_offsets": ["0", "65536"]},
            {"data_offsets": None},
            {"data_offsets": [0.5, 65536.5]},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("tensor", ["weights", "norms"])
    def test_a_tensor_that_does_not_fit(
        self, table: Path, tensor: str, change: dict[str, object]
    ) -> None:
        content, header = table.read_bytes(), header_of(table)
        header[tensor] |= change
        rewrite(table, header, content)
        with pytest.raises(CorruptModelError, match="is not a weight table"):
            LinearScorer.open(table)

    @pytest.mark.parametrize("values", [np.zeros(2**14), np.zeros(2**13, np.float32)])
    def test_weights_of_another_type_or_size(self, tmp_path: Path, values: np.ndarray) -> None:
        info = TableInfo(ngram_max=1, bits=14, terms="count", bias=0.0, slope=1.0, offset=0.0)
        save_file(
            {"weights": values},
            tmp_path / "table",
            {"opinionlens": msgspec.json.encode(info).decode()},
        )
        with pytest.raises(CorruptModelError, match="unexpected tensor"):
            LinearScorer.open(tmp_path / "table")

    def test_flipped_bits_in_the_header_never_crash(self, table: Path) -> None:
        content = table.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        draw = random.Random(0)
        for _ in range(300):
            damaged = bytearray(content)
            for _ in range(draw.randrange(1, 4)):
                damaged[draw.randrange(end)] ^= 1 << draw.randrange(8)
            table.write_bytes(damaged)
            with suppress(CorruptModelError):
                LinearScorer.open(table).margins(["a text", "another"])


def header_of(table: Path) -> dict[str, dict[str, object]]:
    content = table.read_bytes()
    header: dict[str, dict[str, object]] = json.loads(
        content[8 : 8 + int.from_bytes(content[:8], "little")]
    )
    return header


def rewrite(table: Path, header: dict[str, dict[str, object]], content: bytes) -> None:
    """Put another header before the tensors."""
    tensors = content[8 + int.from_bytes(content[:8], "little") :]
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    table.write_bytes(len(encoded).to_bytes(8, "little") + encoded + tensors)

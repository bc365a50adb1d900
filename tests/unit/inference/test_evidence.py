"""How much of a text a model knows; how strong its evidence is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.base_model.opening import open_base
from pipelines.inference.compiling import fuse
from pipelines.inference.evidence import Evidence, evidence_of, judgement, known_weight
from pipelines.inference.pipeline_scorer import PipelineScorer
from tests.fitted import fit_tiny
from tests.unit.text.strategies import texts


@pytest.mark.parametrize(
    ("confidence", "words", "known", "expected"),
    [
        (0.99, 0, 0.0, "none"),
        (0.99, 9, 0.0, "none"),
        (0.99, 9, 0.24, "none"),
        (0.99, 8, 0.25, "weak"),
        (0.99, 9, 0.49, "weak"),
        (0.75, 4, 0.5, "clear"),
        (0.74, 4, 1.0, "weak"),
        (0.89, 3, 1.0, "weak"),
        (0.9, 3, 1.0, "clear"),
        (0.99, 0, None, "none"),
        (0.8, 4, None, "clear"),
        (0.6, 4, None, "weak"),
    ],
)
def test_the_definition(
    confidence: float, words: int, known: float | None, expected: Evidence
) -> None:
    assert evidence_of(confidence, words, known) == expected


def test_a_text_without_words_knows_none() -> None:
    assert judgement(0.9, 0, 0).known == 0.0
    assert judgement(0.1, 4, 1).known == 0.25
    assert judgement(0.1, 4, 1).confidence == 0.9


def counted(text: str) -> int:
    """How many words are found by a model that knows exactly the word "great"."""
    scorer = fuse(fit_tiny("nbsvm"))
    assert scorer is not None
    (judged,) = scorer.judge([f"{text} great"])
    assert judged.known
    return round(1 / judged.known) - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("... !? , ;:", 0),
        ("7 123 456 1000000 3.5 1,000 b12 zzz 12", 2),
        ("@somebody https://example.com/12 www.example.com", 0),
        ("qqx :) \U0001f600", 3),
        ("\u042d\u0442\u043e \u0442\u0435\u0441\u0442", 2),
        ("\u592a\u597d", 2),
    ],
)
def test_words_are_counted(text: str, words: int) -> None:
    assert counted(text) == words


def test_a_known_word_weighs_more_than_most_of_a_full_table() -> None:
    weights = np.r_[np.full(1000, 0.01), np.full(24, -1.0)].astype(np.float32)
    assert known_weight(weights) == pytest.approx(0.01)
    assert known_weight(np.r_[np.zeros(1000), np.ones(24)].astype(np.float32)) == 0


NOTHING_TO_GO_BY: Sequence[str] = [
    "",
    "123 456",
    "\u042d\u0442\u043e \u0431\u044b\u043b\u043e \u0432\u0447\u0435\u0440\u0430",
    "asdf qwer",
    "zxcvb lkjh poiu mnbv qqwwe",
]


def test_the_base_model_says_what_is_not_enough_to_go_by() -> None:
    scorer = open_base()
    assert {judged.evidence for judged in scorer.judge(NOTHING_TO_GO_BY)} == {"none"}
    plain, clear, short = scorer.judge(
        ["Delivered on Monday", "The food was cold and the waiter rude", "I love it"]
    )
    assert plain.evidence != "clear"
    assert clear.evidence == short.evidence == "clear"
    explained = scorer.explain("asdf qwer")
    assert (explained.known, explained.evidence) == (0.0, "none")


def test_strangers_to_the_base_model_are_seldom_known() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(0x3B1, 0x3C9, 9))) for _ in range(2000)]
    judged = open_base().judge([" ".join(words)])[0]
    assert judged.known is not None
    assert judged.known < 0.13


@given(several=st.lists(texts(8), min_size=1, max_size=3))
def test_fused_and_pipeline_agree(several: list[str]) -> None:
    pipeline = fit_tiny("nbsvm")
    fused = fuse(pipeline)
    assert fused is not None
    found, expected = fused.judge(several), PipelineScorer(pipeline).judge(several)
    assert [judged.known for judged in found] == [judged.known for judged in expected]
    assert [judged.evidence for judged in found] == [judged.evidence for judged in expected]
    assert found == [fused.judge([text])[0] for text in several]


def test_a_judgement_is_the_prediction_with_its_evidence() -> None:
    scorer = fuse(fit_tiny("nbsvm"))
    assert scorer is not None
    many = ["great food", "a rude waiter", ""] * 50
    labels, probabilities = scorer.predict(many)
    judged = scorer.judge(many)
    assert [found.prediction for found in judged] == labels
    assert [found.probability for found in judged] == probabilities.tolist()

"""How the base model is fitted: rows of three kinds and their weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from pipelines.errors import MissingExtraError
from pipelines.params import Vectorizer
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.base_model import (
    OpinionLexicon,
    Recipe,
    Rows,
    WeightTable,
    Words,
    dataset_rows,
    fit_sigmoid,
    fit_table,
    lexicon_rows,
    sentence_rows,
    split_sentences,
    turn_negated,
)
from pipelines.training.everyday import CHOOSING, LAST_LOOK, load_everyday
from pipelines.training.features import Labelled
from tests.support import require

RECIPE = Recipe(vectorizer=Vectorizer(ngram_max=2, bits=14), min_df=1, smoothing=1.0)
VALUES = {"great": 3.0, "good": 1.0, "awful": -4.0}


class FewWords(OpinionLexicon):
    """A lexicon of three words, without rules."""

    def __init__(self) -> None:
        pass

    @property
    def words(self) -> dict[str, float]:
        return VALUES

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        sums = [sum(VALUES.get(word, 0.0) for word in text.split()) for text in texts]
        return np.array(sums) / 4


def frame(*rows: tuple[str, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"text": pl.String, "label": pl.Int8}, orient="row")


def count(texts: Sequence[str]) -> object:
    vectorizer = RECIPE.vectorizer
    return HashedNgramVectorizer(vectorizer.ngram_max, vectorizer.bits).transform(list(texts))


class TestRows:
    def test_both_classes_of_a_data_set_are_equally_heavy(self) -> None:
        rows = dataset_rows(frame(("a", 1), ("b", 0), ("c", 0), ("d", 0)), RECIPE)
        assert_array_equal(rows.positive, [True, False, False, False])
        assert_allclose(rows.weights, [2, 2 / 3, 2 / 3, 2 / 3])

    def test_words_are_as_heavy_as_they_are_strong(self) -> None:
        rows = lexicon_rows(FewWords(), msgspec.structs.replace(RECIPE, lexicon=2.0))
        assert_array_equal(rows.positive, [True, True, False])
        assert rows.weights.mean() == pytest.approx(2.0)
        assert_allclose(rows.weights / rows.weights[1], [3, 1, 4])
        assert rows.counts.nnz == 3

    def test_a_sentence_the_lexicon_contradicts_is_left_out(self) -> None:
        texts = frame(
            ("It was great fun. We saw it twice. An awful title it has.", 1),
            ("The end was awful indeed. We went home early. Some great music though.", 0),
        )
        agreeing, neutral = sentence_rows(texts, FewWords(), RECIPE)
        assert_array_equal(agreeing.positive, [True, False])
        assert_array_equal(
            agreeing.counts.toarray(),
            count(["It was great fun.", "The end was awful indeed."]).toarray(),
        )
        assert_array_equal(
            neutral.counts.toarray(), count(["We saw it twice.", "We went home early."]).toarray()
        )
        assert agreeing.weights.mean() == pytest.approx(RECIPE.agreeing)
        assert neutral.weights.mean() == pytest.approx(RECIPE.neutral)

    def test_sentences_come_from_evenly_spaced_texts(self) -> None:
        texts = frame(*[(f"We saw film {i}. It was great fun.", 1) for i in range(10)])
        recipe = msgspec.structs.replace(RECIPE, sentence_texts=5)
        agreeing, _ = sentence_rows(texts, FewWords(), recipe)
        assert agreeing.positive.size == 5

    def test_texts_of_one_sentence_have_no_sentences(self) -> None:
        assert sentence_rows(frame(("It was great fun.", 1)), FewWords(), RECIPE) == []
        assert split_sentences("Only one sentence here.") == []

    def test_sentences_of_a_few_words(self) -> None:
        long = "word " * 41
        text = f"He said (what a mess!) No. We stayed on... {long}. Version 2.0 is fine!"
        assert split_sentences(text) == [
            "He said (what a mess!",
            "We stayed on...",
            "Version 2.0 is fine!",
        ]


class TestFitting:
    TEXTS = ["great film", "good food", "a great day", "awful film", "awful food", "a bad day"] * 3
    POSITIVE = np.array([True, True, True, False, False, False] * 3)

    def rows(self, weights: NDArray[np.float64] | None = None) -> Rows:
        given = np.ones(len(self.TEXTS)) if weights is None else weights
        return Rows(count(self.TEXTS), self.POSITIVE, given)

    def test_it_learns_and_the_same_rows_give_the_same_table(self) -> None:
        one, two = (fit_table([self.rows()], RECIPE, seed=3) for _ in range(2))
        assert_array_equal(one.weights, two.weights)
        assert one.bias == two.bias
        assert_array_equal(one.margins(count(self.TEXTS)) > 0, self.POSITIVE)
        assert one.margins(count(["unknown"])) == pytest.approx(one.bias)

    def test_margins_of_an_empty_text_are_the_bias(self) -> None:
        table = fit_table([self.rows()], RECIPE, seed=3)
        assert table.margins(count([""])) == pytest.approx(table.bias)

    def test_heavy_rows_outvote_light_ones(self) -> None:
        rows = [
            Rows(count(["odd thing"] * 4), np.array([True] * 4), np.full(4, 0.01)),
            Rows(count(["odd thing"]), np.array([False]), np.array([5.0])),
        ]
        table = fit_table([self.rows(), *rows], RECIPE, seed=0)
        assert table.margins(count(["odd thing"])) < 0

    def test_rare_n_grams_are_left_out(self) -> None:
        once = Rows(count(["unheard-of"]), np.array([True]), np.ones(1))
        recipe = msgspec.structs.replace(RECIPE, min_df=2)
        table = fit_table([self.rows(), once], recipe, seed=0)
        (only,) = count(["heard"]).indices
        assert table.weights[only] == 0

    def test_a_negated_word_does_not_count_as_itself(self) -> None:
        fitted = fit_table([self.rows()], RECIPE, seed=0)
        words = [Words.of(["a great film", "good"], RECIPE), Words.of(["great"], RECIPE)]
        turned = turn_negated(fitted, words, RECIPE)
        assert turned.bias == fitted.bias
        texts = ["great", "not great", "not a great film", "not awful"]
        before, after = fitted.margins(count(texts)), turned.margins(count(texts))
        assert after[0] == before[0] > turned.bias
        # Three words and what two of them are made into: "not great" is what "not" is.
        assert after[1] == pytest.approx(turned.bias)
        assert turned.bias < after[2] < before[2]
        # No text of these has the word.
        assert after[3] == before[3]
        (great,) = count(["great"]).indices
        assert turned.weights[great] == fitted.weights[great]
        half = turn_negated(fitted, words, msgspec.structs.replace(RECIPE, negation=0.5))
        assert half.margins(count(texts))[1] == pytest.approx((before[1] + after[1]) / 2)

    def test_the_sigmoid_supposes_nothing_about_the_share_of_positive_texts(self) -> None:
        random = np.random.default_rng(0)
        table = WeightTable(np.zeros(2**14, dtype=np.float32), 0.0)
        few = np.array([1] * 30 + [0] * 970, dtype=np.int8)
        margins = np.where(few == 1, 1.0, -1.0) + random.normal(size=few.size)

        class Fixed(WeightTable, frozen=True):
            def margins(self, counts: object) -> NDArray[np.float64]:
                return margins

        slope, offset = fit_sigmoid(Fixed(table.weights, 0.0), [Labelled(count([]), few)])
        assert slope > 0
        assert abs(offset / slope) < 0.3


def test_without_the_lexicon_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(MissingExtraError, match=r"opinionlens\[bench\]"):
        OpinionLexicon()


def test_the_lexicon_of_vader() -> None:
    try:
        import vaderSentiment  # noqa: F401
    except ImportError:
        require(False, "vaderSentiment is not installed")
    lexicon = OpinionLexicon()
    assert len(lexicon.words) > 7000
    assert lexicon.words["good"] > 0 > lexicon.words["awful"]
    scores = lexicon.scores(["It is good.", "It is not good.", "It is there."])
    assert scores[0] > 0 > scores[1]
    assert scores[2] == 0


def test_everyday_texts_are_balanced_and_differ() -> None:
    everyday = load_everyday()
    assert everyday["text"].n_unique() == everyday.height
    counts = everyday.group_by("topic", "part").agg(pl.len(), pl.col("label").mean())
    assert counts["len"].n_unique() == 1
    assert counts["label"].to_list() == [0.5] * 8
    assert set(everyday["part"]) == {CHOOSING, LAST_LOOK}

"""How the base model is fitted: rows of three kinds and their weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from pipelines.base_model.everyday_texts import CHOOSING, LAST_LOOK, load_everyday
from pipelines.base_model.lexicons import Vader, load_idioms
from pipelines.base_model.material import read_opinions
from pipelines.base_model.recipe import (
    Features,
    Recipe,
    Rows,
    fit_sigmoid,
    fit_table,
    idiom_rows,
    lexicon_rows,
    negated_words,
    sentence_rows,
    sentences_of,
    text_rows,
)
from pipelines.config.params import Vectorizer
from pipelines.errors import MissingExtraError
from pipelines.text.vectorizer import HashedNgramVectorizer
from tests.support import require

RECIPE = Recipe(vectorizer=Vectorizer(ngram_max=2, bits=14), min_df=1, smoothing=1.0)
NINE = np.zeros(9, dtype=bool), np.ones(9)
VALUES = {"great": 3.0, "good": 1.0, "awful": -4.0}


class FewWords(Vader):
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


def count(texts: Sequence[str]) -> sp.csr_matrix:
    vectorizer = RECIPE.vectorizer
    return HashedNgramVectorizer(vectorizer.ngram_max, vectorizer.bits).transform(list(texts))


class TestRows:
    def test_both_classes_of_a_source_are_equally_heavy(self) -> None:
        rows = text_rows(frame(("a", 1), ("b", 0), ("c", 0), ("d", 0)), RECIPE)
        assert_array_equal(rows.positive, [True, False, False, False])
        assert_allclose(rows.weights, [2, 2 / 3, 2 / 3, 2 / 3])

    def test_words_are_as_heavy_as_they_are_strong(self) -> None:
        rows = lexicon_rows(VALUES, msgspec.structs.replace(RECIPE, lexicon=2.0))
        assert_array_equal(rows.positive, [True, True, False])
        assert rows.weights.mean() == pytest.approx(2.0)
        assert_allclose(rows.weights / rows.weights[1], [3, 1, 4])
        assert rows.counts.nnz == 3

    def test_idioms_stand_alone_and_in_frames_and_both_classes_are_equally_heavy(self) -> None:
        idioms = {"hidden gem": True, "steer clear": False, "fell flat": False}
        rows = idiom_rows(idioms, msgspec.structs.replace(RECIPE, idioms=2.0))
        assert rows.weights[rows.positive].sum() == pytest.approx(rows.weights.sum() / 2)
        assert rows.weights.mean() == pytest.approx(2.0)
        columns = rows.counts.tocsc()
        for idiom, positive in idioms.items():
            for bucket in count([idiom]).indices:
                holding = columns[:, bucket].indices
                assert holding.size >= Recipe().min_df
                assert set(rows.positive[holding]) == {positive}

    def test_a_sentence_that_vader_contradicts_is_left_out(self) -> None:
        texts = frame(
            ("It was great fun. We saw it twice. An awful title it has.", 1),
            ("The end was awful indeed. We went home early. Some great music though.", 0),
        )
        rows = sentence_rows(texts, FewWords(), RECIPE)
        kept = ["It was great fun.", "We saw it twice.", "The end was awful indeed."]
        assert_array_equal(rows.counts.toarray(), count([*kept, "We went home early."]).toarray())
        assert_array_equal(rows.positive, [True, True, False, False])
        agreeing, neutral = RECIPE.agreeing, RECIPE.neutral
        assert_allclose(rows.weights, [agreeing, neutral, agreeing, neutral])

    def test_sentences_come_from_evenly_spaced_texts(self) -> None:
        texts = frame(*[(f"We saw film {i}. It was long.", int(i < 5)) for i in range(10)])
        recipe = msgspec.structs.replace(RECIPE, sentence_texts=5)
        assert sentence_rows(texts, FewWords(), recipe).positive.size == 10

    def test_texts_of_one_sentence_have_no_sentences(self) -> None:
        rows = sentence_rows(frame(("It was great fun.", 1)), FewWords(), RECIPE)
        assert rows.counts.shape == (0, 2**14)
        assert sentences_of("Only one sentence here.") == []

    def test_sentences_of_a_few_words(self) -> None:
        long = "word " * 41
        text = f"He said (what a mess!) No. We stayed on. {long}. Version 2.0 is fine!"
        assert sentences_of(text) == [
            "He said (what a mess!)",
            "We stayed on.",
            "Version 2.0 is fine!",
        ]


class TestFitting:
    TEXTS = ["great film", "good food", "a great day", "awful film", "awful food", "a bad day"] * 3
    POSITIVE = np.array([True, True, True, False, False, False] * 3)

    def rows(self) -> Rows:
        return Rows(count(self.TEXTS), self.POSITIVE, np.ones(len(self.TEXTS)))

    def fit(
        self, *parts: Rows, recipe: Recipe = RECIPE, chosen: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float32], float]:
        features = Features.of(parts, recipe)
        rows = features.rows(range(len(parts)) if chosen is None else chosen)
        return fit_table(features, rows, recipe, seed=3)

    def test_it_learns_and_the_same_rows_give_the_same_table(self) -> None:
        (weights, bias), (again, bias_again) = self.fit(self.rows()), self.fit(self.rows())
        assert_array_equal(weights, again)
        assert bias == bias_again
        counts = count(self.TEXTS)
        sums = (counts > 0) @ weights / np.sqrt(np.diff(counts.indptr))
        assert_array_equal(sums + bias > 0, self.POSITIVE)

    def test_heavy_rows_outvote_light_ones(self) -> None:
        odd = count(["odd thing"])
        rows = [
            Rows(count(["odd thing"] * 4), np.array([True] * 4), np.full(4, 0.01)),
            Rows(odd, np.array([False]), np.array([5.0])),
        ]
        weights, _ = self.fit(self.rows(), *rows)
        assert weights[odd.indices].sum() < 0

    def test_parts_left_out_have_no_weight_in_the_fit(self) -> None:
        odd = Rows(count(["odd thing"] * 4), np.array([True] * 4), np.ones(4))
        weights, _ = self.fit(self.rows(), odd, chosen=[0])
        assert not weights[odd.counts.indices].any()
        with_it, _ = self.fit(self.rows(), odd)
        assert with_it[odd.counts.indices].all()

    def test_rare_n_grams_are_left_out(self) -> None:
        once = Rows(count(["unheard-of"]), np.array([True]), np.ones(1))
        recipe = msgspec.structs.replace(RECIPE, min_df=2)
        weights, _ = self.fit(self.rows(), once, recipe=recipe)
        (only,) = count(["heard"]).indices
        assert weights[only] == 0

    def test_negation_takes_back_what_a_word_says_where_few_rows_negate_it(self) -> None:
        negations = ["not great", "not awful at all"]
        features = Features.of([self.rows(), Rows(count(["so not great"] * 9), *NINE)], RECIPE)
        words = negated_words(["great", "awful", "two words"], RECIPE)
        assert words.shape == (2, 2)

        def margins(negated: float) -> NDArray[np.float32]:
            recipe = msgspec.structs.replace(RECIPE, negated=negated, negators=1.0)
            rows = features.rows([0, 1])
            return count(negations) @ fit_table(features, rows, recipe, 3, words)[0]

        plain, _ = fit_table(features, features.rows([0, 1]), RECIPE, 3)
        great, awful = plain[words[:, 0]]
        learnt = count(negations) @ plain
        # Nine rows say what "not great" means, none what "not awful" does.
        assert_allclose(margins(9.0) - learnt, [-great / 2, -awful], rtol=1e-5)
        assert_allclose(margins(1e-6)[0], learnt[0], rtol=1e-5)

    def test_a_negator_keeps_a_share_of_its_weight(self) -> None:
        features = Features.of([self.rows(), Rows(count(["so not great"] * 9), *NINE)], RECIPE)
        words = negated_words(["awful"], RECIPE)
        (negator,) = count(["not"]).indices

        def table(negators: float) -> NDArray[np.float32]:
            recipe = msgspec.structs.replace(RECIPE, negators=negators)
            return fit_table(features, features.rows([0, 1]), recipe, 3, words)[0]

        whole, half = table(1.0), table(0.5)
        assert whole[negator] != 0
        assert half[negator] == pytest.approx(whole[negator] / 2)
        assert_array_equal(np.delete(half, negator), np.delete(whole, negator))

    def test_only_the_largest_weights_are_kept(self) -> None:
        every, _ = self.fit(self.rows())
        few, _ = self.fit(self.rows(), recipe=msgspec.structs.replace(RECIPE, kept=4))
        kept = np.flatnonzero(few)
        assert kept.size == 4
        assert_array_equal(few[kept], every[kept])
        assert np.abs(few[kept]).min() >= np.abs(np.delete(every, kept)).max()

    def test_the_sigmoid_supposes_nothing_about_the_share_of_positive_texts(self) -> None:
        random = np.random.default_rng(0)
        few = np.array([True] * 30 + [False] * 970)
        margins = np.where(few, 1.0, -1.0) + random.normal(size=few.size)
        slope, offset = fit_sigmoid([margins], [few])
        assert slope > 0
        assert abs(offset / slope) < 0.3


def test_without_the_lexicon_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(MissingExtraError, match=r"opinionlens\[bench\]"):
        Vader()


def test_the_lexicon_of_vader() -> None:
    try:
        import vaderSentiment  # noqa: F401
    except ImportError:
        require(False, "vaderSentiment is not installed")
    vader = Vader()
    assert len(vader.words) > 7000
    assert vader.words["good"] > 0 > vader.words["awful"]
    scores = vader.scores(["It is good.", "It is not good.", "It is there."])
    assert scores[0] > 0 > scores[1]
    assert scores[2] == 0


def test_negation_takes_nothing_back_of_a_word_that_an_idiom_negates() -> None:
    texts = frame(("It was great fun. We saw it twice.", 1), ("It was awful. We left early.", 0))
    texts = texts.with_columns(source=pl.lit("films"), domain=pl.lit("films"))
    recipe = msgspec.structs.replace(RECIPE, vectorizer=Vectorizer(ngram_max=2, bits=22))
    words = {"happier": 2.0, "tasty": 1.0}
    material = read_opinions(texts, FewWords(), words, recipe, 0, lambda stage: None)
    assert_array_equal(material.negated, negated_words(["tasty"], recipe))


def test_idioms_are_many_of_both_kinds_and_no_everyday_text() -> None:
    idioms = load_idioms()
    positive = sum(idioms.values())
    assert min(positive, len(idioms) - positive) >= 75
    assert all(len(idiom.split()) > 1 for idiom in idioms)
    assert not {idiom.lower() for idiom in idioms} & {
        text.lower().strip(" .!?") for text in load_everyday()["text"]
    }


def test_everyday_texts_are_many_balanced_and_differ() -> None:
    everyday = load_everyday()
    assert everyday["text"].n_unique() == everyday.height >= 600
    for columns in (["topic", "part"], ["topic", "kind"]):
        shares = everyday.filter(pl.col("part") == LAST_LOOK).group_by(columns)
        assert shares.agg(pl.col("label").mean())["label"].unique().to_list() == [0.5]
    sizes = everyday.group_by("part").len()["len"]
    assert sizes.n_unique() == 1
    last_look = everyday.filter(pl.col("part") == LAST_LOOK)
    assert last_look["kind"].n_unique() == 10
    assert last_look.group_by("kind").len()["len"].unique().to_list() == [32]
    assert set(everyday["part"]) == {CHOOSING, LAST_LOOK}

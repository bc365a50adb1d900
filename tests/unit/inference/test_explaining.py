"""Explanations: exact for linear models, approximate and bounded for others, for every string."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.config.params import Language
from pipelines.inference import explaining
from pipelines.inference.compiling import fuse
from pipelines.inference.evidence import Judgement, judgement
from pipelines.inference.explaining import explain_by_occlusion
from pipelines.inference.explanation import Explanation
from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.inference.pipeline_scorer import PipelineScorer
from pipelines.inference.scorer import Scorer
from pipelines.labels import BINARY
from pipelines.text.buffers import text_buffer
from pipelines.text.ngrams import count_ngrams
from tests.fitted import fit_tiny
from tests.unit.text.strategies import texts

ODD_TEXTS = [
    "",
    " \r\n\t ",
    "\x00",
    "a\x00b",
    "😀👍🏽",
    "\ud800",
    "\ud83d\ude00 odd. \udfff",
    "http://x\ud800y",
    "<br>",
    "<p>Good</p>\r\nbad &amp; ugly",
    "cafe\u0301 e\u0301",
    "!!!",
    "good " * 3000,
]


def random_scorer(terms: str, bits: int = 6, ngram_max: int = 3, char_max: int = 0) -> LinearScorer:
    """Weights drawn at random; so few buckets that n-grams of one text share them."""
    rng = np.random.default_rng(7)
    info = TableInfo(
        ngram_max=ngram_max,
        char_max=char_max,
        bits=bits,
        terms=terms,
        bias=0.3,
        slope=1.7,
        offset=-0.2,
    )
    weights = rng.normal(size=2**bits).astype(np.float32)
    norms = rng.uniform(0, 2, size=2**bits if terms == "log_count" else 0).astype(np.float32)
    for table in (weights, norms):
        table.flags.writeable = False  # as when they are mapped
    return LinearScorer(info, weights, norms)


RANDOM = {
    **{terms: random_scorer(terms) for terms in ("presence", "count", "log_count")},
    "spellings": random_scorer("log_count", char_max=4),
}


def total(explanation: Explanation) -> float:
    assert explanation.bias is not None
    return math.fsum([explanation.bias, *(word.contribution for word in explanation.words)])


def linear() -> LinearScorer:
    scorer = fuse(fit_tiny("nbsvm"))
    assert scorer is not None
    return scorer


def forest() -> PipelineScorer:
    return PipelineScorer(fit_tiny("random_forest"))


def by_definition(words: Sequence[str], scorer: LinearScorer) -> list[float]:
    """Contributions of words that are joined by spaces, each n-gram looked up by itself.

    No mark among them ends what "not" begins.
    """
    info = scorer.info
    spans = [
        (i, j)
        for i in range(len(words))
        for j in range(i + 1, min(len(words), i + info.ngram_max) + 1)
    ]

    def bucket(i: int, j: int) -> int:
        # Its n-grams that begin with the first word come first, the whole one last among them.
        found, _, _ = count_ngrams(text_buffer([" ".join(words[i:j])]), j - i, 30)
        return int(found[j - i - 1]) >> (30 - info.bits)

    def negated(i: int) -> int:
        # Behind the words themselves.
        found, _, _ = count_ngrams(text_buffer([f"not {words[i]}"]), 1, 30)
        return int(found[-1]) >> (30 - info.bits)

    buckets = [bucket(i, j) for i, j in spans]
    after = range(words.index("not") + 1 if "not" in words else len(words), len(words))
    buckets += [negated(i) for i in after]
    spans += [(i, i + 1) for i in after]
    for i, word in enumerate(words):
        # Behind the word itself.
        found, _, _ = count_ngrams(text_buffer([word]), 1, 30, info.char_max)
        buckets += [int(each) >> (30 - info.bits) for each in found[1:]]
        spans += [(i, i + 1)] * (found.size - 1)
    counts = Counter(buckets)
    value = {
        "presence": lambda count: 1.0,
        "count": float,
        "log_count": lambda count: 1 + math.log(count),
    }[info.terms]
    norms = scorer.norms if scorer.norms.size else np.ones(2**info.bits)
    length = math.sqrt(sum((value(c) * float(norms[b])) ** 2 for b, c in counts.items()))
    contributions = [0.0] * len(words)
    for (i, j), b in zip(spans, buckets, strict=True):
        part = value(counts[b]) * float(scorer.weights[b]) / length / counts[b]
        for word in range(i, j):
            contributions[word] += part / (j - i)
    return contributions


@pytest.mark.parametrize("terms", RANDOM)
@given(words=st.lists(st.sampled_from(["good", "bad", "not", "so"]), max_size=9))
def test_contributions_are_those_of_the_definition(terms: str, words: list[str]) -> None:
    explained = RANDOM[terms].explain(" ".join(words)).words
    assert [word.text for word in explained] == words
    expected = by_definition(words, RANDOM[terms])
    assert [word.contribution for word in explained] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("terms", RANDOM)
@settings(max_examples=60)
@given(text=texts(30))
def test_words_and_bias_add_up_to_the_margin_that_predict_uses(terms: str, text: str) -> None:
    scorer = RANDOM[terms]
    explanation = scorer.explain(text)
    labels, probabilities = scorer.predict([text])
    assert explanation.margin == scorer.margins([text])[0]
    assert explanation.probability == probabilities[0]
    assert explanation.prediction == labels[0]
    assert explanation.exact
    assert total(explanation) == pytest.approx(explanation.margin, abs=1e-9)


@settings(max_examples=60)
@given(texts(30))
def test_offsets_lead_to_what_was_typed(text: str) -> None:
    explanation = RANDOM["count"].explain(text)
    shown = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for part in [*explanation.words, *explanation.sentences, *explanation.phrases]:
        if len(shown) == len(text):  # no pair of surrogates, which UTF-16 joins
            assert part.text == shown[part.start : part.end]
        assert part.end - part.start == len(part.text) > 0
    for parts in (explanation.words, explanation.sentences):
        assert all(a.end <= b.start for a, b in itertools.pairwise(parts))


@settings(max_examples=60)
@given(texts(30))
def test_sentences_share_the_words_among_them(text: str) -> None:
    scorer = RANDOM["presence"]
    explanation = scorer.explain(text)
    whole = math.fsum(word.contribution for word in explanation.words)
    parts = math.fsum(sentence.contribution for sentence in explanation.sentences)
    assert parts == pytest.approx(whole, abs=1e-9)
    labels, probabilities = scorer.predict([s.text for s in explanation.sentences])
    assert [s.prediction for s in explanation.sentences] == labels
    assert [s.confidence for s in explanation.sentences] == pytest.approx(
        np.maximum(probabilities, 1 - probabilities)
    )


@pytest.mark.parametrize("subject", ["nbsvm", "logistic_regression", "complement_nb"])
def test_fitted_models_are_explained_exactly(subject: str) -> None:
    pipeline = fit_tiny(subject)
    scorer = fuse(pipeline)
    assert scorer is not None
    text = "The food was cold and boring.<br />But the waiter was lovely &amp; great, great!"
    explanation = scorer.explain(text)
    assert total(explanation) == pytest.approx(explanation.margin, abs=1e-9)
    assert explanation.probability == pytest.approx(pipeline.predict_proba([text])[0, 1], abs=1e-6)
    parts = {word.text: word.contribution for word in explanation.words}
    assert parts["cold"] < 0 < parts["lovely"]
    assert [s.prediction for s in explanation.sentences] == ["NEGATIVE", "POSITIVE"]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
@pytest.mark.parametrize("make", [linear, forest])
def test_every_string_is_explained_and_fits_json(make: type[Scorer], text: str) -> None:
    scorer = make()
    explanation = scorer.explain(text)
    label, probability = (answer[0] for answer in scorer.predict([text]))
    assert (explanation.prediction, explanation.probability) == (label, probability)
    assert 0.5 <= explanation.confidence <= 1
    assert msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation) == explanation


def test_a_text_without_words_is_the_bias() -> None:
    explanation = RANDOM["count"].explain("<b> \x00")
    assert explanation.margin == explanation.bias == 0.3
    assert explanation.words == explanation.sentences == explanation.phrases == []


def test_the_threshold_is_where_the_verdict_changes() -> None:
    scorer = RANDOM["count"]
    threshold = scorer.explain("x").threshold
    assert threshold is not None
    around = scorer.probabilities(np.array([threshold - 1e-9, threshold + 1e-9]))
    assert BINARY.answers(around) == ["NEGATIVE", "POSITIVE"]


def test_words_for_and_against_the_prediction() -> None:
    explanation = linear().explain("Awful AWFUL awful film, rude and cold, but lovely food")
    assert explanation.prediction == "NEGATIVE"
    assert [(t.text, t.count) for t in explanation.top_for[:1]] == [("Awful", 3)]
    assert [t.contribution for t in explanation.top_for] == sorted(
        t.contribution for t in explanation.top_for
    )
    assert explanation.top_against[0].text == "lovely"
    awful = [w.contribution for w in explanation.words if w.text.lower() == "awful"]
    assert explanation.top_for[0].contribution == pytest.approx(sum(awful))


def test_a_shade_means_the_same_in_every_text() -> None:
    scorer = linear()
    for text in ("The food was awful but the waiter lovely", "the film", "the"):
        for word in scorer.explain(text).words:
            log_odds = scorer.slope * word.contribution
            shade = sum(abs(log_odds) >= least for least in explaining.SHADES)
            assert word.strength == (shade if log_odds > 0 else -shade)


def test_a_weak_word_has_no_strong_shade_by_being_the_strongest() -> None:
    info = TableInfo(ngram_max=1, bits=14, terms="count", bias=0.0, slope=1.0, offset=0.0)
    weights = np.full(2**14, 0.02, dtype=np.float32)
    assert LinearScorer(info, weights).explain("film").words[0].strength == 0
    assert LinearScorer(info, -100 * weights).explain("film").words[0].strength == -3


def test_phrases_are_ngrams_with_their_own_part() -> None:
    scorer = random_scorer("presence", bits=20, ngram_max=2)
    explanation = scorer.explain("so\r\nGood")
    buckets, _, _ = count_ngrams(text_buffer(["so good"]), 2, 20)
    (phrase,) = explanation.phrases
    assert (phrase.start, phrase.end, phrase.text) == (0, 8, "so\r\nGood")
    assert phrase.contribution == pytest.approx(scorer.weights[buckets[1]] / math.sqrt(3))


def test_repeated_phrases_are_listed_once() -> None:
    phrases = RANDOM["presence"].explain("so good so good so good so good").phrases
    assert len({phrase.text for phrase in phrases}) == len(phrases) > 1


def test_threads_get_the_same_explanations() -> None:
    scorer = linear()
    many = [f"The food was {word}. It was {i} times good!" for i, word in enumerate(ODD_TEXTS[:-1])]
    expected = [scorer.explain(text) for text in many]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(scorer.explain, many * 5)) == expected * 5


def test_occlusion_is_the_fall_of_the_probability() -> None:
    scorer = forest()
    text = "The food was tasty,\r\nbut the waiter rude"
    explanation = scorer.explain(text)
    assert not explanation.exact
    assert explanation.unit == "probability"
    assert explanation.margin is explanation.bias is explanation.threshold is None
    assert [word.text for word in explanation.words][3:5] == ["tasty", ","]
    for word in explanation.words:
        without = scorer.predict([f"{text[: word.start]} {text[word.end :]}"])[1][0]
        assert word.contribution == pytest.approx(explanation.probability - without)
    parts = {word.text: word.contribution for word in explanation.words}
    assert parts["rude"] < 0 < parts["tasty"]


class CountingScorer:
    """A probability that depends on the number of words, and a count of what it was asked."""

    kind = "pipeline"
    classes = BINARY
    language: Language = "en"

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        self.asked += len(texts)
        probabilities = np.array([1 / (1 + len(text.split()) / 1000) for text in texts])
        return BINARY.answers(probabilities), probabilities

    def judge(self, texts: Sequence[str]) -> list[Judgement]:
        _, probabilities = self.predict(texts)
        return [
            judgement(probability, sum(map(str.isalpha, text.split())), None)
            for text, probability in zip(texts, probabilities.tolist(), strict=True)
        ]

    def explain(self, text: str) -> Explanation:
        return explain_by_occlusion(self, text)


def test_occlusion_of_a_long_text_is_bounded_and_says_so() -> None:
    scorer = CountingScorer()
    explanation = scorer.explain("word " * 1000)
    assert len(explanation.words) == 1000
    assert scorer.asked <= explaining.MAX_OCCLUSIONS + 2  # the whole, and its one sentence
    assert all(word.contribution < 0 for word in explanation.words)
    assert "left out 4 at a time" in explanation.notes[0]


def test_occlusion_of_huge_texts_is_bounded_in_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_MAX_OCCLUDED_CHARACTERS", 10_000)
    monkeypatch.setattr(explaining, "_BATCH_CHARACTERS", 3_000)
    scorer = CountingScorer()
    explanation = scorer.explain("word " * 100)
    assert scorer.asked == 20 + 2
    assert len({word.contribution for word in explanation.words}) == 1

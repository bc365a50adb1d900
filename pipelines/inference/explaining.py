"""Why a model answered as it did: what words and sentences contribute to the answer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.inference.scorer import POSITIVE, Scorer, labels_of
from pipelines.text.offsets import LocatedTokens, locate_tokens
from pipelines.text.sentences import Sentences, split_sentences

if TYPE_CHECKING:
    from pipelines.inference.linear import LinearScorer

TOP: Final = 10
"""Words for, words against and phrases that are listed."""

_NEGLIGIBLE: Final = 0.01
"""Share of the strongest contribution below which none is listed."""

STRENGTHS: Final = 3
"""How many shades there are on either side of none."""
_FAINT: Final = 0.1
"""Share of the strongest contribution below which a word has no shade."""

MAX_OCCLUSIONS: Final = 300
"""Variants of a text that are scored to explain it by occlusion."""
_FEWEST_OCCLUSIONS: Final = 16
_MAX_OCCLUDED_CHARACTERS: Final = 10_000_000
"""Characters of all variants together, as long as that leaves `_FEWEST_OCCLUSIONS`."""
_BATCH_CHARACTERS: Final = 2_000_000

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Word(msgspec.Struct, frozen=True, gc=False):
    """A token of the text: a word, punctuation, an emoticon, an emoji.

    Attributes
    ----------
    start, end : int
        It is ``text[start:end]`` of the string that was explained, in characters (code points).
    text : str
        Those characters; lone surrogates, which JSON cannot carry, are U+FFFD.
    contribution : float
        Above 0 it speaks for `POSITIVE`, below 0 for `NEGATIVE`; in units of
        `Explanation.unit`. Everything about n-grams is folded onto their words.
    strength : int
        The same as a shade, relative to the strongest word of the text: -3 to 3.
    """

    start: int
    end: int
    text: str
    contribution: float
    strength: int


class Phrase(msgspec.Struct, frozen=True, gc=False):
    """An n-gram of two words or more, and what it contributes by itself.

    Its contribution is part of those of its words, not added to them. Fields as in `Word`.
    """

    start: int
    end: int
    text: str
    contribution: float


class Term(msgspec.Struct, frozen=True, gc=False):
    """All occurrences of one word, whatever their case.

    Attributes
    ----------
    text : str
        As it stands in its first occurrence.
    count : int
    contribution : float
        Sum over the occurrences.
    """

    text: str
    count: int
    contribution: float


class Sentence(msgspec.Struct, frozen=True, gc=False):
    """A sentence: the model's answer to it alone, and its share in the answer to the whole.

    Attributes
    ----------
    prediction : str
        `NEGATIVE` or `POSITIVE`, of the sentence by itself.
    confidence : float
        Probability of that prediction.
    contribution : float
        Sum of the contributions of its words to the whole.
    start, end, text
        As in `Word`.
    """

    start: int
    end: int
    text: str
    prediction: str
    confidence: float
    contribution: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A model's answer to a text, and where it comes from.

    Attributes
    ----------
    prediction : str
        `NEGATIVE` or `POSITIVE`.
    confidence : float
        Probability of the prediction, 0.5 to 1.
    probability : float
        Probability of `POSITIVE`.
    exact : bool
        Whether the contributions of the words and `bias` add up to `margin`. Otherwise they are
        approximate: how the probability of `POSITIVE` falls when a word is left out.
    unit : str
        What contributions are parts of: ``margin`` or ``probability``.
    margin, bias, threshold : float or None
        Only of linear models: the margin, what it is without any words, and the margin at which
        the probability is one half (None if there is no such margin).
    words : list of Word
        All tokens in their order.
    sentences : list of Sentence
    phrases : list of Phrase
        The strongest ones; only of linear models.
    top_for, top_against : list of Term
        The words that speak most for and against `prediction`, strongest first.
    notes : list of str
        What a reader should know, such as limits that a long text has reached.
    """

    prediction: str
    confidence: float
    probability: float
    exact: bool
    unit: Literal["margin", "probability"]
    margin: float | None
    bias: float | None
    threshold: float | None
    words: list[Word]
    sentences: list[Sentence]
    phrases: list[Phrase]
    top_for: list[Term]
    top_against: list[Term]
    notes: list[str]


def explain_linear(scorer: LinearScorer, text: str) -> Explanation:
    """Take the margin of `text` apart, exactly. See `Scorer.explain`."""
    tokens = locate_tokens(text)
    margin, contributions, ngrams = scorer.contributions(tokens.hashes)
    info = scorer.info
    printable = _printable(text)
    words = _words(printable, tokens, contributions)
    sentences, notes = _sentences(scorer, printable, words)
    probability = float(scorer.probabilities(np.array([margin]))[0])
    prediction = labels_of(np.array([probability]))[0]
    top_for, top_against = _top_words(words, prediction)
    return Explanation(
        prediction=prediction,
        confidence=max(probability, 1 - probability),
        probability=probability,
        exact=True,
        unit="margin",
        margin=margin,
        bias=info.bias,
        threshold=-info.offset / info.slope if info.slope else None,
        words=words,
        sentences=sentences,
        phrases=_top_phrases(printable, tokens, ngrams),
        top_for=top_for,
        top_against=top_against,
        notes=notes,
    )


def explain_by_occlusion(scorer: Scorer, text: str) -> Explanation:
    """Leave out word by word of `text` and see how the probability changes.

    Of a long text, neighbouring words are left out together, so that at most `MAX_OCCLUSIONS`
    variants are scored. See `Scorer.explain`.
    """
    labels, probabilities = scorer.predict([text])
    probability = float(probabilities[0])
    tokens = locate_tokens(text)
    contributions, together = _occlude(scorer, text, tokens, probability)
    printable = _printable(text)
    words = _words(printable, tokens, contributions)
    sentences, notes = _sentences(scorer, printable, words)
    if together > 1:
        notes.append(
            f"The text is long: its words were left out {together} at a time, and words that "
            "were left out together have equal shares of the difference."
        )
    top_for, top_against = _top_words(words, labels[0])
    return Explanation(
        prediction=labels[0],
        confidence=max(probability, 1 - probability),
        probability=probability,
        exact=False,
        unit="probability",
        margin=None,
        bias=None,
        threshold=None,
        words=words,
        sentences=sentences,
        phrases=[],
        top_for=top_for,
        top_against=top_against,
        notes=notes,
    )


def _occlude(
    scorer: Scorer, text: str, tokens: LocatedTokens, probability: float
) -> tuple[NDArray[np.float64], int]:
    """Contribution of each of n tokens, shape (n,), and how many were left out together."""
    n = tokens.starts.size
    if n == 0:
        return np.empty(0), 1
    affordable = max(_FEWEST_OCCLUSIONS, _MAX_OCCLUDED_CHARACTERS // len(text))
    together = -(-n // min(MAX_OCCLUSIONS, affordable))
    firsts = np.arange(0, n, together)
    lasts = np.minimum(firsts + together, n) - 1
    spans = list(zip(tokens.starts[firsts].tolist(), tokens.ends[lasts].tolist(), strict=True))
    batch = max(1, _BATCH_CHARACTERS // len(text))
    without = np.concatenate(
        [
            # The space keeps the neighbours from becoming one word.
            scorer.predict([f"{text[:start]} {text[end:]}" for start, end in spans[i : i + batch]])[
                1
            ]
            for i in range(0, len(spans), batch)
        ]
    )
    sizes = lasts - firsts + 1
    return np.repeat((probability - without) / sizes, sizes), together


def _words(text: str, tokens: LocatedTokens, contributions: NDArray[np.float64]) -> list[Word]:
    spans = zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)
    parts = zip(contributions.tolist(), _strengths(contributions).tolist(), strict=True)
    return [
        Word(start, end, text[start:end], contribution, strength)
        for (start, end), (contribution, strength) in zip(spans, parts, strict=True)
    ]


def _strengths(contributions: NDArray[np.float64]) -> NDArray[np.int64]:
    sizes = np.abs(contributions)
    strongest = sizes.max(initial=0.0)
    if strongest == 0:
        return np.zeros(contributions.size, dtype=np.int64)
    shares = sizes / strongest
    shades = np.where(shares < _FAINT, 0, np.ceil(shares * STRENGTHS))
    return (np.sign(contributions) * shades).astype(np.int64)


def _sentences(
    scorer: Scorer, text: str, words: Sequence[Word]
) -> tuple[list[Sentence], list[str]]:
    """The sentences that have words, and a note if the text was too long to have all of them."""
    split = split_sentences(text)
    notes = []
    if split.covered < len(text):
        notes.append(
            f"The text is long: only its first {split.covered:,} characters of "
            f"{len(text):,} were divided into sentences."
        )
    spans, contributions = _shares(split, words)
    if not spans:
        return [], notes
    texts = [text[start:end] for start, end in spans]
    labels, probabilities = scorer.predict(texts)
    confidences = np.maximum(probabilities, 1 - probabilities).tolist()
    return [
        Sentence(start, end, sentence, label, confidence, contribution)
        for (start, end), sentence, label, confidence, contribution in zip(
            spans, texts, labels, confidences, contributions, strict=True
        )
    ], notes


def _shares(split: Sentences, words: Sequence[Word]) -> tuple[list[tuple[int, int]], list[float]]:
    """Sentences with words, and the sum of the contributions of the words that begin in each."""
    sums = [0.0] * len(split.spans)
    counts = [0] * len(split.spans)
    at = -1
    for word in words:
        if word.start >= split.covered:
            break
        while at + 1 < len(split.spans) and split.spans[at + 1][0] <= word.start:
            at += 1
        sums[at] += word.contribution
        counts[at] += 1
    kept = [i for i, count in enumerate(counts) if count]
    return [split.spans[i] for i in kept], [sums[i] for i in kept]


def _top_words(words: Sequence[Word], prediction: str) -> tuple[list[Term], list[Term]]:
    """The words for and against the prediction, strongest first."""
    grouped: defaultdict[str, list[Word]] = defaultdict(list)
    for word in words:
        grouped[word.text.casefold()].append(word)
    sign = 1 if prediction == POSITIVE else -1
    terms = [
        Term(group[0].text, len(group), sum(word.contribution for word in group))
        for group in grouped.values()
    ]
    least = _NEGLIGIBLE * max((abs(term.contribution) for term in terms), default=0.0)
    terms = [term for term in terms if abs(term.contribution) > least]
    terms.sort(key=lambda term: sign * term.contribution, reverse=True)
    top_for = [term for term in terms[:TOP] if sign * term.contribution > 0]
    top_against = [term for term in terms[: -TOP - 1 : -1] if sign * term.contribution < 0]
    return top_for, top_against


def _top_phrases(text: str, tokens: LocatedTokens, ngrams: NDArray[np.float64]) -> list[Phrase]:
    """The n-grams of several words that contribute most, each wording once."""
    sizes = np.abs(ngrams)
    sizes[:, :1] = 0
    least = _NEGLIGIBLE * np.abs(ngrams).max(initial=0.0)
    phrases: dict[str, Phrase] = {}
    # A phrase that is repeated has the same contribution each time: look at more than are wanted.
    for index in np.argsort(-sizes, axis=None, kind="stable")[: 20 * TOP].tolist():
        first, more = divmod(index, ngrams.shape[1])
        if sizes[first, more] <= least or len(phrases) == TOP:
            break
        start, end = int(tokens.starts[first]), int(tokens.ends[first + more])
        phrase = Phrase(start, end, text[start:end], float(ngrams[first, more]))
        phrases.setdefault(phrase.text.casefold(), phrase)
    return list(phrases.values())


def _printable(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)

"""Why a model answered as it did: what words and sentences contribute to the answer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.inference.contributions import Contributions
from pipelines.inference.explanation import Explanation, Phrase, Sentence, Term, Word
from pipelines.inference.scorer import Scorer
from pipelines.inference.verdicts import POSITIVE, labels_of
from pipelines.text.offsets import LocatedTokens, locate_tokens
from pipelines.text.sentences import Sentences, split_sentences

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


class AdditiveScorer(Scorer, Protocol):
    """A scorer whose margin is the sum of what the tokens of a text add to it, and a bias."""

    @property
    def bias(self) -> float:
        """The margin of a text without tokens."""
        ...

    @property
    def threshold(self) -> float | None:
        """The margin at which the probability is one half; None if there is no such margin."""
        ...

    def contributions(self, tokens: LocatedTokens) -> Contributions:
        """What each of the tokens of a text adds to its margin."""
        ...

    def probabilities(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of `POSITIVE`, shape (n,)."""
        ...


def explain_linear(scorer: AdditiveScorer, text: str) -> Explanation:
    """Take the margin of `text` apart, exactly. See `Scorer.explain`."""
    tokens = locate_tokens(text)
    margin, contributions, ngrams = scorer.contributions(tokens)
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
        bias=scorer.bias,
        threshold=scorer.threshold,
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

"""Why a model answered as it did: what words and sentences contribute to the answer."""

from __future__ import annotations

import re
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.inference.contributions import Contributions
from pipelines.inference.evidence import Judgement
from pipelines.inference.explanation import (
    Explanation,
    PerClass,
    Phrase,
    Poles,
    Sentence,
    Term,
    Word,
)
from pipelines.inference.scorer import Scorer
from pipelines.text.offsets import LocatedTokens, locate_tokens
from pipelines.text.sentences import split_sentences

TOP: Final = 10
"""Words for, words against and phrases that are listed."""

_NEGLIGIBLE: Final = 0.01
"""Share of the strongest contribution below which none is listed."""

SHADES: Final = (0.1, 0.4, 1.2)
"""Changes of the log odds of the answer from which a word has shade 1, 2 or 3.

The scale is fixed, so that a shade means the same in all texts: from even odds, these are 2.5, 10
and 27 points of probability.
"""

MAX_OCCLUSIONS: Final = 300
"""Variants of a text that are scored to explain it by occlusion."""
_FEWEST_OCCLUSIONS: Final = 16
_MAX_OCCLUDED_CHARACTERS: Final = 10_000_000
"""Characters of all variants together, as long as that leaves `_FEWEST_OCCLUSIONS`."""
_BATCH_CHARACTERS: Final = 2_000_000

_AT_ONCE: Final = 1_000
"""Words that are made of arrays in one call; other threads of a server run in between."""

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

    @property
    def slope(self) -> float:
        """What the log odds of the second pole change by with the margin."""
        ...

    @property
    def poles(self) -> Poles:
        """The two classes that what is taken from and added to the margin speaks for."""
        ...

    def contributions(self, tokens: LocatedTokens) -> Contributions:
        """What each of the tokens of a text adds to its margin."""
        ...


def explain_linear(scorer: AdditiveScorer, text: str) -> Explanation:
    """Take the margin of `text` apart, exactly. See `Scorer.explain`."""
    tokens = locate_tokens(text)
    margin, contributions, ngrams = scorer.contributions(tokens)
    printable = _printable(text)
    words = _words(printable, tokens, contributions, scorer.slope * contributions)
    verdict = _verdict(scorer, scorer.judge([text])[0], scorer.poles)
    rising = verdict.prediction == verdict.poles[1]
    top_for, top_against = _top_words(printable, tokens, contributions, rising)
    return msgspec.structs.replace(
        verdict,
        exact=True,
        unit="margin",
        margin=margin,
        bias=scorer.bias,
        threshold=scorer.threshold,
        words=words,
        sentences=_sentences(scorer, printable, tokens, contributions),
        phrases=_top_phrases(printable, tokens, ngrams),
        top_for=top_for,
        top_against=top_against,
    )


def explain_by_occlusion(scorer: Scorer, text: str) -> Explanation:
    """Leave out word by word of `text` and see how the probability changes.

    Of a long text, neighbouring words are left out together, so that at most `MAX_OCCLUSIONS`
    variants are scored. See `Scorer.explain`.
    """
    judged = scorer.judge([text])[0]
    poles = Poles.of(scorer.classes, judged.each)
    verdict = _verdict(scorer, judged, poles)
    tokens = locate_tokens(text)
    contributions, together = _occlude(scorer, text, tokens, verdict.probability, poles)
    printable = _printable(text)
    # Near one half, a change of the probability is a quarter of that of the log odds.
    words = _words(printable, tokens, contributions, 4 * contributions)
    notes = []
    if together > 1:
        notes.append(
            f"The text is long: its words were left out {together} at a time, and words that "
            "were left out together have equal shares of the difference."
        )
    rising = verdict.prediction == verdict.poles[1]
    top_for, top_against = _top_words(printable, tokens, contributions, rising)
    return msgspec.structs.replace(
        verdict,
        words=words,
        sentences=_sentences(scorer, printable, tokens, contributions),
        top_for=top_for,
        top_against=top_against,
        notes=notes,
    )


def _verdict(scorer: Scorer, judged: Judgement, poles: Poles) -> Explanation:
    """An answer that is not yet explained."""
    return Explanation(
        prediction=judged.prediction,
        confidence=judged.confidence,
        probability=poles.share(judged.each),
        known=judged.known,
        evidence=judged.evidence,
        exact=False,
        unit="probability",
        margin=None,
        bias=None,
        threshold=None,
        words=[],
        sentences=[],
        phrases=[],
        top_for=[],
        top_against=[],
        notes=[],
        per_class=PerClass.of(scorer.classes, poles, judged.each),
    )


def _occlude(
    scorer: Scorer, text: str, tokens: LocatedTokens, probability: float, poles: Poles
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
    without = poles.shares(without)
    sizes = lasts - firsts + 1
    return np.repeat((probability - without) / sizes, sizes), together


def _words(
    text: str,
    tokens: LocatedTokens,
    contributions: NDArray[np.float64],
    log_odds: NDArray[np.float64],
) -> list[Word]:
    """The words; `log_odds` are their contributions in units that all models share."""
    strengths = _strengths(log_odds)
    words = []
    for first in range(0, strengths.size, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        columns = (tokens.starts, tokens.ends, contributions, strengths)
        words += [
            Word(start, end, text[start:end], contribution, strength)
            for start, end, contribution, strength in zip(
                *(column[part].tolist() for column in columns), strict=True
            )
        ]
    return words


def _strengths(log_odds: NDArray[np.float64]) -> NDArray[np.int64]:
    shades = np.searchsorted(SHADES, np.abs(log_odds), side="right")
    return (np.sign(log_odds) * shades).astype(np.int64)


def _sentences(
    scorer: Scorer, text: str, tokens: LocatedTokens, contributions: NDArray[np.float64]
) -> list[Sentence]:
    """The sentences that have words, each with the sum of the contributions of its words."""
    spans = split_sentences(text, scorer.language)
    if not spans or not tokens.starts.size:
        return []
    firsts = np.array([start for start, _ in spans])
    # A token belongs to the sentence in which it begins.
    owners = np.maximum(np.searchsorted(firsts, tokens.starts, side="right") - 1, 0)
    sums = np.bincount(owners, contributions, len(spans)).tolist()
    kept = np.unique(owners).tolist()
    worded = [spans[i] for i in kept]
    texts = [text[start:end] for start, end in worded]
    labels, probabilities = scorer.predict(texts)
    confidences = scorer.classes.each(probabilities).max(axis=1).tolist()
    return [
        Sentence(start, end, sentence, label, confidence, sums[i])
        for i, (start, end), sentence, label, confidence in zip(
            kept, worded, texts, labels, confidences, strict=True
        )
    ]


def _top_words(
    text: str, tokens: LocatedTokens, contributions: NDArray[np.float64], rising: bool
) -> tuple[list[Term], list[Term]]:
    """The words for and against the prediction, strongest first; `rising` is what is above 0.

    Tokens of one hash are one word: they differ in case at most, or in how often a letter stands.
    """
    sign = 1 if rising else -1
    _, firsts, groups, counts = np.unique(
        tokens.hashes, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.bincount(groups, contributions, firsts.size)
    least = _NEGLIGIBLE * np.abs(sums).max(initial=0.0)

    def strongest(side: int) -> list[Term]:
        sided = side * sums
        # Of equal ones, the word that comes first in the text.
        order = np.lexsort((firsts, -sided))[:TOP]
        return [
            Term(
                text[tokens.starts[firsts[i]] : tokens.ends[firsts[i]]],
                int(counts[i]),
                float(sums[i]),
            )
            for i in order[sided[order] > least].tolist()
        ]

    return strongest(sign), strongest(-sign)


def _top_phrases(text: str, tokens: LocatedTokens, ngrams: NDArray[np.float64]) -> list[Phrase]:
    """The n-grams of several words that contribute most, each wording once."""
    sizes = np.abs(ngrams)
    sizes[:, :1] = 0
    least = _NEGLIGIBLE * np.abs(ngrams).max(initial=0.0)
    phrases: dict[str, Phrase] = {}
    # A phrase that is repeated has the same contribution each time: take more than are wanted.
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

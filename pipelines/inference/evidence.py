"""How much of a text a model knows, and so how much its answer is worth.

The one definition, for all models and all surfaces:

- Words are tokens besides sentence marks, addresses, handles, and numbers of ASCII digits. Emoji
  and emoticons are words.
- A word is known if its 1-gram weighs more, in size, than 90 % of the buckets of the model's
  table do. Where fewer than 10 % of the buckets are in use, that is: if it has a weight. In a
  fuller table, a word that training has never seen shares its bucket with some n-gram that it
  has seen; this holds for one in ten at most then.
- `known` is the share of a text's words that are known; 0 for a text without words. Of a model
  that is not linear, a word is known if its bucket is in use; None if more than 10 % are.
- `evidence` is ``none`` if no word is known, or fewer than a quarter are; else ``clear`` if at
  least half are known and the confidence is at least 0.75, or 0.9 where there are three words or
  fewer; else ``weak``. Without a `known`, the confidence alone decides if there are words.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.labels import BINARY, Classes, label_of
from pipelines.text.ngrams import cleared_table, extend_ngram, find_slot
from pipelines.text.tokens import ADDRESS, HANDLE, HASH_FACTOR, HASH_START

Evidence = Literal["none", "weak", "clear"]

EVIDENCE: Final[tuple[Evidence, ...]] = get_args(Evidence)

CHANCE: Final = 0.1
"""Share of the words never seen that may count as known, since they share a bucket."""

_SAMPLE: Final = 1 << 16
"""Buckets that are sampled for the weight of a known word; n-grams are spread evenly."""

_LEAST: Final = 0.25
_MOST: Final = 0.5
_FEW_WORDS: Final = 3
_SURE: Final = 0.75
_VERY_SURE: Final = 0.9
_UNFACTOR: Final = np.uint64(pow(int(HASH_FACTOR), -1, 1 << 64))
"""Undoes a multiplication with `HASH_FACTOR`."""


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """A model's answer to one text.

    Attributes
    ----------
    prediction : str
        `NEGATIVE` or `POSITIVE`.
    probability : float
        Probability of `POSITIVE`, the second of two classes; of more classes, of the prediction.
    known : float or None
        Share of the text's words that the model knows; None if that is not known.
    evidence : str
        ``none`` if there is not enough to go by, else ``weak`` or ``clear``.
    probabilities : tuple of float
        Of each class, where there are more than two; else empty.
    words : int
        Number of the text's words.
    """

    prediction: str
    probability: float
    known: float | None
    evidence: Evidence
    probabilities: tuple[float, ...] = ()
    words: int = 0

    @property
    def confidence(self) -> float:
        """Probability of the prediction; of two classes, 0.5 to 1."""
        if self.probabilities:
            return self.probability
        return max(self.probability, 1 - self.probability)

    @property
    def each(self) -> tuple[float, ...]:
        """Probability of each class, of two as well."""
        return self.probabilities or (1 - self.probability, self.probability)


class JudgedColumns(NamedTuple):
    """The answers to n texts as columns, which are made much faster than n of `Judgement`.

    Attributes
    ----------
    predicted : int8 array, shape (n,)
        Numbers of classes.
    confidence : float64 array, shape (n,)
    each : float64 array, shape (n, n_classes)
        Probability of each class.
    known : float64 array, shape (n,)
    evidence : int8 array, shape (n,)
        Places in `EVIDENCE`.
    """

    predicted: NDArray[np.int8]
    confidence: NDArray[np.float64]
    each: NDArray[np.float64]
    known: NDArray[np.float64]
    evidence: NDArray[np.int8]


def judged_columns(
    probabilities: NDArray[np.float64], words: NDArray[np.int64], classes: Classes
) -> JudgedColumns:
    """The answers to n texts.

    Parameters
    ----------
    probabilities : float64 array, shape (n,) or (n, n_classes)
        As in `pipelines.labels`.
    words : int64 array, shape (n, 2)
        How many words each text has, and how many of them are known.
    """
    each = classes.each(probabilities)
    confidence = each.max(axis=1)
    counts, known_words = np.ascontiguousarray(words.T)  # compiled once, not for views too
    known = np.divide(known_words, counts, out=np.zeros(len(words)), where=counts > 0)
    evidence = _evidence_column(confidence, counts, known)
    return JudgedColumns(classes.predicted(probabilities), confidence, each, known, evidence)


def judgement(
    probability: float,
    words: int,
    known_words: int | None,
    names: Sequence[str] = BINARY.names,
) -> Judgement:
    """The answer to a text of so many words; `known_words` is None if that is not known."""
    known = None if known_words is None else known_words / words if words else 0.0
    evidence = evidence_of(max(probability, 1 - probability), words, known)
    return Judgement(label_of(probability, names), probability, known, evidence, (), words)


def class_judgement(
    probabilities: Sequence[float], words: int, known_words: int | None, names: Sequence[str]
) -> Judgement:
    """The same with the probability of each of more than two classes."""
    known = None if known_words is None else known_words / words if words else 0.0
    confidence = max(probabilities)
    prediction = names[probabilities.index(confidence)]
    evidence = evidence_of(confidence, words, known)
    return Judgement(prediction, confidence, known, evidence, tuple(probabilities), words)


def judge_with(classes: Classes) -> Callable[[Any, int, int | None], Judgement]:
    """The one of the two functions above that makes judgements of a text's probability."""
    if classes.names == BINARY.names:
        return judgement
    return partial(judgement if classes.two else class_judgement, names=classes.names)


def evidence_of(confidence: float, words: int, known: float | None) -> Evidence:
    """How strong the evidence is; see the module."""
    return EVIDENCE[_strength.py_func(confidence, words, np.nan if known is None else known)]


@njit(cache=True, nogil=True)
def _strength(confidence: float, words: int, known: float) -> int:
    """The place in `EVIDENCE`; see the module. `known` is NaN if it is not known."""
    if words == 0 or known == 0 or known < _LEAST:
        return 0
    sure = confidence >= (_VERY_SURE if words <= _FEW_WORDS else _SURE)
    return 1 if not sure or known < _MOST else 2


@njit(cache=True, nogil=True)
def _evidence_column(
    confidence: NDArray[np.float64], words: NDArray[np.int64], known: NDArray[np.float64]
) -> NDArray[np.int8]:
    places = np.empty(confidence.size, dtype=np.int8)
    for row in range(places.size):
        places[row] = _strength(confidence[row], words[row], known[row])
    return places


def known_weight(weights: NDArray[np.float32]) -> float:
    """The size that the weight of a known word exceeds; of several classes, the largest weight."""
    sizes = np.abs(weights[:_SAMPLE])
    sizes = sizes if sizes.ndim == 1 else sizes.max(axis=1)
    return float(np.quantile(sizes, 1 - CHANCE, method="higher"))


def describe_evidence(evidence: Evidence, known: float | None) -> str:
    """A sentence for people; empty if the evidence is clear."""
    if evidence == "clear":
        return ""
    said = "Not enough to go by" if evidence == "none" else "Weak evidence"
    share = "" if known is None else f": the model knows {known:.0%} of the words"
    return f"{said}{share}."


@njit(cache=True, nogil=True)
def count_words(
    text: NDArray[np.uint8],
    size: int,
    tokens: NDArray[np.uint64],
    n: int,
    bits: int,
    weights: NDArray[np.float32],
    least: float,
) -> tuple[int, int]:
    """How many of the `n` tokens of the normalised ``text[:size]`` are words, and known ones.

    `least` is the `known_weight`.
    """
    numbers = _numbers(text, size)
    table = np.empty(0, dtype=np.int32)
    if numbers.size > 0:
        table = cleared_table(table, numbers.size)
        for i in range(numbers.size):
            table[find_slot(numbers[i], table, numbers)] = i
    shift = np.uint64(64 - bits)
    words = known = 0
    for i in range(n):
        token = tokens[i]
        if not _is_worded(token):
            continue
        if numbers.size > 0 and table[find_slot(token, table, numbers)] >= 0:
            continue
        words += 1
        bucket = extend_ngram(np.uint64(0), token) >> shift
        if weights.ndim == 1:  # known when this is compiled
            known += abs(weights[bucket]) > least
        else:
            for column in range(weights.shape[1]):
                if abs(weights[bucket, column]) > least:
                    known += 1
                    break
    return words, known


@njit(cache=True, nogil=True, inline="always")
def _is_worded(token: np.uint64) -> bool:
    """Whether the token is no mark, digit, address or handle."""
    # The character, if the token is a single one; no letter of ASCII comes before 65.
    code = (token * _UNFACTOR) ^ HASH_START
    return bool(code >= np.uint64(65) and code != np.uint64(ADDRESS) and code != np.uint64(HANDLE))


@njit(cache=True, nogil=True)
def _numbers(text: NDArray[np.uint8], size: int) -> NDArray[np.uint64]:
    """Hashes, as of tokens, of all runs of ASCII digits in ``text[:size]``."""
    digits = 0
    for i in range(size):
        digits += _is_digit(text[i])
    numbers = np.empty(digits, dtype=np.uint64)
    if digits == 0:
        return numbers
    n = 0
    value = HASH_START
    before = before_that = np.uint8(0)
    for i in range(size + 1):
        byte = text[i] if i < size else np.uint8(0)
        if _is_digit(byte):
            if byte != before or byte != before_that:
                value = (value ^ np.uint64(byte)) * HASH_FACTOR
        elif _is_digit(before):
            numbers[n] = value
            n += 1
            value = HASH_START
        before_that = before
        before = byte
    return numbers[:n]


@njit(cache=True, nogil=True, inline="always")
def _is_digit(byte: np.uint8) -> bool:
    return bool((byte >= 48) & (byte <= 57))

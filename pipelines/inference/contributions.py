"""Exact contributions of n-grams and tokens to the margin of a linear model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.inference.terms import term_value
from pipelines.text.character_ngrams import hash_spellings
from pipelines.text.ngrams import (
    cleared_table,
    extend_ngram,
    find_slot,
    fold_ngrams,
    fold_spellings,
    most_entries,
    negated_word,
    still_negated,
)


class Contributions(NamedTuple):
    """Parts of a margin of a text of n tokens.

    Attributes
    ----------
    margin : float
        The margin itself, the bias included.
    tokens : float64 array, shape (n,)
        The parts of the tokens; with the bias they add up to the margin. Each n-gram is shared
        equally by its tokens.
    ngrams : float64 array, shape (n, ngram_max)
        The parts of the n-grams: row i, column k is the one of k + 1 tokens that begins with
        token i. An n-gram that occurs several times, or shares a bucket with another, has an
        equal part of the bucket each time. What a word adds by being negated, and by its
        character n-grams, is in column 0.
    """

    margin: float
    tokens: NDArray[np.float64]
    ngrams: NDArray[np.float64]


@njit(cache=True, nogil=True)
def fold_contributions(
    tokens: NDArray[np.uint64],
    text: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
    ngram_max: int,
    char_max: int,
    bits: int,
    language: int,
    terms: int,
    bias: float,
    weights: NDArray[np.float32],
    norms: NDArray[np.float32],
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The fields of `Contributions` for the hashed `tokens` of `text`, which is normalised.

    The others are as in `LinearScorer`.
    """
    n = tokens.size
    entries = most_entries(n, text.size, ngram_max, char_max)
    table = cleared_table(np.empty(1024, dtype=np.int32), entries)
    buckets = np.empty(entries, dtype=np.int32)
    counts = np.empty(entries, dtype=np.float32)
    used = fold_ngrams(tokens, n, ngram_max, bits, language, table, buckets, counts)
    hashes, owners = hash_spellings(text, text.size, n, char_max, kinds, folded)
    used = fold_spellings(hashes, bits, table, buckets, counts, used)

    parts = np.empty(used, dtype=np.float64)
    total = 0.0
    square = 0.0
    for entry in range(used):
        value = term_value(counts[entry], terms)
        parts[entry] = value * np.float64(weights[buckets[entry]])
        total += parts[entry]
        if norms.size > 0:
            value *= np.float64(norms[buckets[entry]])
        square += value * value
    length = np.sqrt(square) if square > 0 else np.inf
    for entry in range(used):
        parts[entry] /= length * np.float64(counts[entry])

    by_token = np.zeros(n, dtype=np.float64)
    by_ngram = np.zeros((n, ngram_max), dtype=np.float64)
    shift = np.uint64(64 - bits)
    negated = False
    for i in range(n):
        chain = np.uint64(0)
        for j in range(i, min(n, i + ngram_max)):
            chain = extend_ngram(chain, tokens[j])
            bucket = np.int32(chain >> shift)
            part = parts[table[find_slot(bucket, table, buckets)]]
            size = j - i
            by_ngram[i, size] = part
            for token in range(i, j + 1):
                by_token[token] += part / (size + 1)
        before = negated
        negated = still_negated(before, tokens[i], language)
        if before and negated:
            bucket = np.int32(negated_word(tokens[i]) >> shift)
            part = parts[table[find_slot(bucket, table, buckets)]]
            by_ngram[i, 0] += part
            by_token[i] += part
    for i in range(hashes.size):
        part = parts[table[find_slot(np.int32(hashes[i] >> shift), table, buckets)]]
        by_ngram[owners[i], 0] += part
        by_token[owners[i]] += part
    return bias + total / length, by_token, by_ngram

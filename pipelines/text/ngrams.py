"""Hashed n-grams: texts -> for each the buckets of its word n-grams and how often they occur.

With a `char_max`, the character n-grams of its words follow them (see
`pipelines.text.character_ngrams`).
Beside its n-grams a text has its negated words: each token between a negator (``not``, ``n't``,
``never``, ...) and the next mark, ``but`` or ``only`` counts once more, as another word. So
``not at all the best`` and ``the best`` differ in ``best``, however far away the negator is. Which
words these are depends on the language (see `pipelines.text.languages`).
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.buffers import TextBuffer
from pipelines.text.character_ngrams import hash_spellings, most_spellings
from pipelines.text.characters import character_tables
from pipelines.text.composing import GROWTH
from pipelines.text.languages import LANGUAGES, NUMBERS, Rules
from pipelines.text.normalise import mix, normalise_bytes
from pipelines.text.tokens import hash_tokens, word_hash

_CHAIN: Final = np.uint64(0xD6E8FEB86659FD93)
_SPREAD: Final = 0x9E3779B1
_SMALLEST_TABLE: Final = 1024

_NEGATED: Final = np.uint64(0x5851F42D4C957F2D)
_MARKS: Final = ".,;:!?"
"""Each ends what is negated, in every language."""

_SWITCH_BITS: Final = 8


def _switches(rules: Rules) -> tuple[np.uint64, NDArray[np.uint64], NDArray[np.bool_]]:
    """A hash table of the words that begin or end what is negated, without collisions.

    Returns the multiplier whose product's highest bits are a word's slot, the word of each slot (0
    is none), and whether it begins something. One look is much faster than comparing all words.
    """
    negators = rules.negators.split()
    words = [*negators, *_MARKS, *rules.ends.split()]
    hashes = np.array([word_hash(word) for word in words])
    multiplier = _CHAIN
    while True:
        slots = (hashes * multiplier) >> np.uint64(64 - _SWITCH_BITS)
        if np.unique(slots).size == slots.size:
            break
        multiplier = np.uint64(int(multiplier) + 2)
    slot_words = np.zeros(1 << _SWITCH_BITS, dtype=np.uint64)
    slot_words[slots] = hashes
    begins = np.zeros(1 << _SWITCH_BITS, dtype=np.bool_)
    begins[slots[: len(negators)]] = True
    return multiplier, slot_words, begins


# A row for each language, by its number.
_MULTIPLIERS, _SWITCHES, _BEGINS = map(
    np.array, zip(*map(_switches, LANGUAGES.values()), strict=True)
)

_TEXTS_PER_TASK: Final = 512


def count_ngrams(
    texts: TextBuffer,
    ngram_max: int,
    bits: int,
    char_max: int = 0,
    threads: int | None = None,
    language: str = "en",
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Count the n-grams of texts.

    Parameters
    ----------
    texts : TextBuffer of n texts
    ngram_max : int
        Longest n-gram in tokens.
    bits : int
        There are ``2 ** bits`` buckets.
    char_max : int
        Longest character n-gram; 0: none.
    threads : int, optional
        As many as there are processors by default; the result does not depend on it.
    language : str
        One of `pipelines.text.languages.LANGUAGES`.

    Returns
    -------
    buckets : int32 array, shape (nnz,)
        A text's buckets stand in the order of their first occurrence, none twice.
    counts : float32 array, shape (nnz,)
    offsets : int64 array, shape (n + 1,)
        Text i has the entries ``offsets[i]`` to ``offsets[i + 1]``.
    """
    data, text_offsets = texts
    rest = (ngram_max, char_max, bits, NUMBERS[language], *character_tables())
    n = text_offsets.size - 1
    starts = range(0, n, _TEXTS_PER_TASK)

    def count(start: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        stop = min(n, start + _TEXTS_PER_TASK)
        return _count(data, text_offsets, start, stop, *rest)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        parts = list(pool.map(count, starts))
    if not parts:
        return np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(1, np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), *(part[2] for part in parts)])
    np.cumsum(offsets, out=offsets)
    buckets = np.concatenate([part[0] for part in parts])
    return buckets, np.concatenate([part[1] for part in parts]), offsets


@njit(cache=True, nogil=True)
def _count(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    ngram_max: int,
    char_max: int,
    bits: int,
    language: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Count the n-grams of the texts `first` to `last`; returns buckets, counts, entries a text."""
    text, tokens = room_for(offsets, first, last)
    table = np.empty(_SMALLEST_TABLE, dtype=np.int32)
    sizes = np.empty(last - first, dtype=np.int64)
    capacity = 1024 + (offsets[last] - offsets[first]) // 2
    buckets = np.empty(capacity, dtype=np.int32)
    counts = np.empty(capacity, dtype=np.float32)
    used = 0
    for row in range(first, last):
        n, length = tokenise(data, offsets[row], offsets[row + 1], text, tokens, kinds, folded)
        entries = most_entries(n, length, ngram_max, char_max)
        if used + entries > capacity:
            capacity = max(2 * capacity, used + entries)
            buckets = _enlarged(buckets, capacity, used)
            counts = _enlarged(counts, capacity, used)
        table = cleared_table(table, entries)
        size = fold_terms(
            text, length, tokens, n, ngram_max, char_max, bits, language, kinds, folded,
            table, buckets[used:], counts[used:],
        )  # fmt: skip
        sizes[row - first] = size
        used += size
    return buckets[:used].copy(), counts[:used].copy(), sizes


@njit(cache=True, nogil=True)
def room_for(
    offsets: NDArray[np.int64], first: int, last: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Arrays in which `tokenise` can write any of the texts `first` to `last`."""
    longest = 0
    for row in range(first, last):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return np.empty(GROWTH * longest, dtype=np.uint8), np.empty(longest + 1, dtype=np.uint64)


@njit(cache=True, nogil=True)
def tokenise(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    text: NDArray[np.uint8],
    tokens: NDArray[np.uint64],
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
) -> tuple[int, int]:
    """Normalise ``data[start:stop]`` into `text` and hash its tokens.

    `text` and `tokens` come from `room_for`. Returns how many tokens there are, and how many bytes
    the normalised text has.
    """
    size = stop - start
    text[:size] = data[start:stop]
    nothing = np.empty(0, dtype=np.int64)
    size = normalise_bytes(text, size, nothing, nothing)
    return hash_tokens(text, size, tokens, kinds, folded), size


@njit(cache=True, nogil=True, inline="always")
def most_entries(n: int, size: int, ngram_max: int, char_max: int) -> int:
    """How many buckets `n` tokens in `size` bytes have at most."""
    return n * (ngram_max + 1) + most_spellings(size, n, char_max)


@njit(cache=True, nogil=True)
def cleared_table(table: NDArray[np.int32], entries: int) -> NDArray[np.int32]:
    """An empty hash table for `entries` entries, at most half full: `table` itself if it can be."""
    room = _SMALLEST_TABLE
    while room < 2 * entries:
        room *= 2
    if room > table.size:
        table = np.empty(room, dtype=np.int32)
    table = table[:room]
    table[:] = -1
    return table


@njit(cache=True, nogil=True)
def fold_terms(
    text: NDArray[np.uint8],
    size: int,
    tokens: NDArray[np.uint64],
    n: int,
    ngram_max: int,
    char_max: int,
    bits: int,
    language: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
    table: NDArray[np.int32],
    buckets: NDArray[np.int32],
    counts: NDArray[np.float32],
) -> int:
    """Write the buckets of all terms of a text, each once, and their counts; returns how many.

    `text`, `size`, `tokens` and `n` are as from `tokenise`; `table` comes from `cleared_table`;
    `language` is one of `NUMBERS`.
    """
    used = fold_ngrams(tokens, n, ngram_max, bits, language, table, buckets, counts)
    if char_max > 0:
        hashes, _ = hash_spellings(text, size, n, char_max, kinds, folded)
        used = fold_spellings(hashes, bits, table, buckets, counts, used)
    return used


@njit(cache=True, nogil=True)
def fold_ngrams(
    tokens: NDArray[np.uint64],
    n: int,
    ngram_max: int,
    bits: int,
    language: int,
    table: NDArray[np.int32],
    buckets: NDArray[np.int32],
    counts: NDArray[np.float32],
) -> int:
    """Write the buckets of all n-grams of `n` tokens, each once, and their counts.

    `table` comes from `cleared_table`; its size is a power of two. Returns the number of buckets.
    """
    shift = np.uint64(64 - bits)
    used = 0
    negated = False
    for i in range(n):
        chain = np.uint64(0)
        for j in range(i, min(n, i + ngram_max)):
            chain = extend_ngram(chain, tokens[j])
            used = _add(np.int32(chain >> shift), table, buckets, counts, used)
        before = negated
        negated = still_negated(before, tokens[i], language)
        if before and negated:
            used = _add(np.int32(negated_word(tokens[i]) >> shift), table, buckets, counts, used)
    return used


@njit(cache=True, nogil=True)
def fold_spellings(
    hashes: NDArray[np.uint64],
    bits: int,
    table: NDArray[np.int32],
    buckets: NDArray[np.int32],
    counts: NDArray[np.float32],
    used: int,
) -> int:
    """Add character n-grams to what `fold_ngrams` has written; returns the number of buckets."""
    shift = np.uint64(64 - bits)
    for i in range(hashes.size):
        used = _add(np.int32(hashes[i] >> shift), table, buckets, counts, used)
    return used


@njit(cache=True, nogil=True, inline="always")
def _add(
    bucket: int,
    table: NDArray[np.int32],
    buckets: NDArray[np.int32],
    counts: NDArray[np.float32],
    used: int,
) -> int:
    """Count `bucket` once more; returns how many of `buckets` are used then."""
    slot = find_slot(bucket, table, buckets)
    if table[slot] >= 0:
        counts[table[slot]] += 1
        return used
    table[slot] = used
    buckets[used] = bucket
    counts[used] = 1
    return used + 1


@njit(cache=True, nogil=True, inline="always")
def still_negated(negated: bool, token: np.uint64, language: int) -> bool:
    """Whether what follows `token` is negated, if `token` itself is `negated`.

    A token is a negated word if this is so before and after it. `language` is one of `NUMBERS`.
    """
    slot = (token * _MULTIPLIERS[language]) >> np.uint64(64 - _SWITCH_BITS)
    return _BEGINS[language, slot] if _SWITCHES[language, slot] == token else negated


@njit(cache=True, nogil=True, inline="always")
def negated_word(token: np.uint64) -> np.uint64:
    """Hash of `token` as a negated word; its highest bits are the bucket."""
    return mix(token ^ _NEGATED)


@njit(cache=True, nogil=True, inline="always")
def extend_ngram(chain: np.uint64, token: np.uint64) -> np.uint64:
    """Hash of the n-gram with hash `chain` (0: the empty one) and one more token.

    Its highest bits are the bucket.
    """
    return mix(chain * _CHAIN + token)


@njit(cache=True, nogil=True, inline="always")
def find_slot(bucket: int, table: NDArray[np.int32], buckets: NDArray[np.int32]) -> int:
    """The slot of `table` that points to the entry of `bucket`, or is free for it (-1)."""
    room = table.size - 1
    slot = (np.int64(bucket) * _SPREAD) & room
    while table[slot] >= 0 and buckets[table[slot]] != bucket:
        slot = (slot + 1) & room
    return int(slot)


@njit(cache=True, nogil=True)
def _enlarged(array, capacity, used):  # type: ignore[no-untyped-def]
    larger = np.empty(capacity, dtype=array.dtype)
    larger[:used] = array[:used]
    return larger

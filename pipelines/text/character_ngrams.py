"""Character n-grams of words: what "delay", "delayed" and "deeelay" have in common.

A word's characters are lower-cased and stand between a mark of its beginning and one of its end;
every run of `SHORTEST` to `char_max` of them is an n-gram. They help where texts are short and
spelled anyhow, and cost several times the time of word n-grams. Marks, emoticons, emoji, addresses
and handles have none.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.normalise import mix
from pipelines.text.tokens import HASH_FACTOR, HASH_START, lower_characters, next_token

SHORTEST: Final = 3
CHAR_MAX: Final = range(SHORTEST, 9)
"""Values of `char_max`, besides 0 for no character n-grams."""

_SPELLING: Final = np.uint64(0xA0761D6478BD642F)

# Characters that Unicode will never have, nor any token that stands for a kind of thing.
_BEGIN: Final = np.uint32(0x120000)
_END: Final = np.uint32(0x120001)


@njit(cache=True, nogil=True, inline="always")
def most_spellings(size: int, n: int, char_max: int) -> int:
    """How many character n-grams `n` tokens in `size` bytes have at most."""
    return (size + 2 * n) * max(0, char_max - SHORTEST + 1)


@njit(cache=True, nogil=True)
def hash_spellings(
    text: NDArray[np.uint8],
    size: int,
    n: int,
    char_max: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The character n-grams of ``text[:size]``, normalised UTF-8 of `n` tokens.

    Returns
    -------
    hashes : uint64 array, shape (m,)
        Their highest bits are the buckets.
    owners : int64 array, shape (m,)
        Index of the token that each belongs to, ascending.
    """
    most = most_spellings(size, n, char_max)
    hashes = np.empty(most, dtype=np.uint64)
    owners = np.empty(most, dtype=np.int64)
    characters = np.empty(size + 2, dtype=np.uint32)
    characters[0] = _BEGIN
    used = at = 0
    for token in range(n):
        _, start, at = next_token(text, at, size, kinds, folded)
        length = lower_characters(text, start, at, kinds, folded, characters[1:])
        if length == 0:
            continue
        characters[length + 1] = _END
        for first in range(length + 2):
            value = HASH_START
            for last in range(first, min(length + 2, first + char_max)):
                value = (value ^ np.uint64(characters[last])) * HASH_FACTOR
                if last - first + 1 >= SHORTEST:
                    hashes[used] = mix(value ^ _SPELLING)
                    owners[used] = token
                    used += 1
    return hashes[:used], owners[:used]

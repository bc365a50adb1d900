"""Unicode composition (NFC) in compiled code: ``e`` and an accent become ``é``.

The algorithm is that of Unicode Standard Annex #15, "Unicode Normalization Forms", on the tables
of this Python's `unicodedata`. A text is read in segments: a character, and those after it that
may combine with it. Only segments that are not composed are rewritten.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import unicodedata
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.utf8 import decode, encode

GROWTH: Final = 3
"""A composed text has at most so many times the bytes: some letters only exist decomposed."""

_MAYBE: Final = 1
"""Characters that may combine with the one before."""
_NO: Final = 2
"""Characters that never occur in a composed text."""

_FIRST: Final = 0x300
"""Characters before this one are composed unless one from here on follows them."""
_FIRST_LEAD: Final = 0xCC
"""The first byte of `_FIRST`; characters before it have lower ones."""
_LIMIT: Final = 0x30000
_CODE_BITS: Final = 21

# All there is but ideographs, Hangul syllables, scripts of antiquity and private characters.
_BLOCKS: Final = [
    range(0xC0, 0x3400),
    range(0xA000, 0xAC00),
    range(0xF900, 0x12000),
    range(0x16000, 0x17000),
    range(0x1BC00, 0x1EC00),
    range(0x2F800, 0x2FB00),
]

# Hangul syllables are composed by arithmetic: leading consonant, vowel, perhaps a tail.
_LEADING, _VOWEL, _TAIL, _SYLLABLE = 0x1100, 0x1161, 0x11A7, 0xAC00
_N_LEADING, _N_VOWELS, _N_TAILS = 19, 21, 28
_N_SYLLABLES: Final = _N_LEADING * _N_VOWELS * _N_TAILS


class _Tables(NamedTuple):
    pages: NDArray[np.uint8]
    """Row of `combining` and `checks` for the 256 characters with the same ``code >> 8``."""
    combining: NDArray[np.uint8]
    """Canonical combining class; 0 begins a segment unless it is `_MAYBE`."""
    checks: NDArray[np.uint8]
    """`_MAYBE`, `_NO` or 0."""
    decomposed: NDArray[np.int64]
    """Ascending characters that stand for several, or for another."""
    ends: NDArray[np.int64]
    """Those that the i-th stands for are ``parts[ends[i]:ends[i + 1]]``."""
    parts: NDArray[np.int64]
    pairs: NDArray[np.int64]
    """Ascending pairs that compose, as ``first << _CODE_BITS | second``."""
    composites: NDArray[np.int64]
    """What each pair becomes."""


def _tables() -> _Tables:
    parts: dict[int, str] = {}
    pairs: dict[int, int] = {}
    combining: dict[int, int] = {}
    seconds = {*range(_VOWEL, _VOWEL + _N_VOWELS), *range(_TAIL + 1, _TAIL + _N_TAILS)}
    for code in chain.from_iterable(_BLOCKS):
        decomposition = unicodedata.decomposition(chr(code))
        if decomposition and decomposition[0] != "<":
            parts[code] = unicodedata.normalize("NFD", chr(code))
            if unicodedata.is_normalized("NFC", chr(code)):
                first, second = (int(part, 16) for part in decomposition.split())
                pairs[first << _CODE_BITS | second] = code
                seconds.add(second)
        if combines := unicodedata.combining(chr(code)):
            combining[code] = combines
    checks = {
        code: _MAYBE if unicodedata.combining(decomposed[0]) else _NO
        for code, decomposed in parts.items()
        if not unicodedata.is_normalized("NFC", chr(code))
    } | dict.fromkeys(seconds, _MAYBE)
    numbers = sorted({code >> 8 for code in combining.keys() | checks.keys()})
    pages = np.zeros(_LIMIT >> 8, dtype=np.uint8)
    pages[numbers] = np.arange(1, len(numbers) + 1)
    every = [0] * 256 + [page << 8 | low for page in numbers for low in range(256)]
    return _Tables(
        pages,
        np.array([combining.get(code, 0) for code in every], dtype=np.uint8),
        np.array([checks.get(code, 0) for code in every], dtype=np.uint8),
        np.array(list(parts), dtype=np.int64),
        np.cumsum([0, *map(len, parts.values())], dtype=np.int64),
        np.array([ord(part) for part in chain.from_iterable(parts.values())], dtype=np.int64),
        np.array(sorted(pairs), dtype=np.int64),
        np.array([pairs[pair] for pair in sorted(pairs)], dtype=np.int64),
    )


_PAGES, _COMBINING, _CHECKS, _DECOMPOSED, _ENDS, _PARTS, _PAIRS, _COMPOSITES = _tables()


@njit(cache=True, nogil=True)
def compose(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> tuple[bool, int]:
    """Compose ``buffer[start:stop]`` in place.

    `first` and `last` are as in `normalise_bytes`; all characters of a segment that is rewritten
    stand for the whole of it. There is room for `GROWTH` times as many bytes from `start` on.

    Returns
    -------
    changed : bool
    stop : int
        The new end.
    """
    if not _needs_composing(buffer, start, stop):
        return False, stop
    text = buffer[start:stop].copy()
    tracked = first.size > 0
    firsts, lasts = first[start:stop].copy(), last[start:stop].copy()
    changed = False
    read = 0
    write = start
    while read < text.size:
        end, suspect = _segment(text, read)
        size = end - read
        buffer[write : write + size] = text[read:end]
        if tracked:
            first[write : write + size] = firsts[read:end]
            last[write : write + size] = lasts[read:end]
        if suspect:
            length = _rewrite(text, read, end, buffer, write)
            if length > 0:
                changed = True
                size = length
                if tracked:
                    first[write : write + size] = firsts[read]
                    last[write : write + size] = lasts[end - 1]
        write += size
        read = end
    return changed, write


@njit(cache=True, nogil=True)
def _entry(code: int | np.int64) -> int | np.int64:
    """Index of `code` in `_COMBINING` and `_CHECKS`; 0 if there is nothing special about it."""
    if code < _FIRST or code >= _LIMIT:
        return 0
    page = np.int64(_PAGES[code >> 8])
    return page << 8 | code & 255 if page > 0 else 0


@njit(cache=True, nogil=True)
def _needs_composing(buffer: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Whether ``buffer[start:stop]`` may not be composed yet: the quick check of the annex."""
    highest = np.uint8(0)
    for i in range(start, stop):
        highest = max(highest, buffer[i])
    if highest < _FIRST_LEAD:
        return False
    before = np.int64(0)
    at = start
    while at < stop:
        size = 1
        combining = np.int64(0)
        if buffer[at] >= _FIRST_LEAD:
            code, size = decode(buffer, at, stop)
            entry = _entry(code)
            combining = np.int64(_COMBINING[entry])
            if _CHECKS[entry] != 0 or 0 < combining < before:
                return True
        before = combining
        at += size
    return False


@njit(cache=True, nogil=True)
def _segment(text: NDArray[np.uint8], at: int) -> tuple[int, bool]:
    """End of the segment that begins at `at`, and whether it may not be composed yet."""
    code, size = decode(text, at, text.size)
    entry = _entry(code)
    suspect = _CHECKS[entry] != 0
    at += size
    while at < text.size:
        combining, previous = _COMBINING[entry], code
        code, size = decode(text, at, text.size)
        entry = _entry(code)
        if _COMBINING[entry] == 0:
            if _CHECKS[entry] != _MAYBE:
                break
            if _VOWEL <= code < _TAIL + _N_TAILS and not _is_hangul(previous):
                break
        suspect |= _CHECKS[entry] != 0 or 0 < _COMBINING[entry] < combining
        at += size
    return at, bool(suspect)


@njit(cache=True, nogil=True)
def _is_hangul(code: int | np.int64) -> bool:
    return bool(_LEADING <= code < _TAIL + _N_TAILS or _SYLLABLE <= code < _SYLLABLE + _N_SYLLABLES)


@njit(cache=True, nogil=True)
def _rewrite(
    text: NDArray[np.uint8], at: int, end: int, buffer: NDArray[np.uint8], write: int
) -> int:
    """Write the segment ``text[at:end]`` composed to `buffer`; its bytes, 0 if it was so before."""
    before = _codes(text, at, end)
    codes = _decomposed(before)
    codes = codes[: _joined(codes)]
    if codes.size == before.size and (codes == before).all():
        return 0
    size = 0
    for code in codes:
        size += encode(buffer, write + size, code)
    return size


@njit(cache=True, nogil=True)
def _codes(text: NDArray[np.uint8], at: int, end: int) -> NDArray[np.int64]:
    codes = np.empty(end - at, dtype=np.int64)
    n = 0
    while at < end:
        code, size = decode(text, at, end)
        codes[n] = code
        n += 1
        at += size
    return codes[:n]


@njit(cache=True, nogil=True)
def _decomposed(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The characters that `codes` stand for, in canonical order."""
    parts = np.empty(4 * codes.size, dtype=np.int64)
    n = 0
    for code in codes:
        found = np.searchsorted(_DECOMPOSED, code)
        if found < _DECOMPOSED.size and _DECOMPOSED[found] == code:
            for part in _PARTS[_ENDS[found] : _ENDS[found + 1]]:
                parts[n] = part
                n += 1
        else:
            parts[n] = code
            n += 1
    parts = parts[:n]
    start = 0
    for end in range(n + 1):
        if end == n or _COMBINING[_entry(parts[end])] == 0:
            if end - start > 1:
                classes = np.array([_COMBINING[_entry(part)] for part in parts[start:end]])
                parts[start:end] = parts[start:end][np.argsort(classes, kind="mergesort")]
            start = end + 1
    return parts


@njit(cache=True, nogil=True)
def _joined(codes: NDArray[np.int64]) -> int:
    """Compose the decomposed `codes` in place; returns how many remain."""
    starter = -1
    before = np.int64(0)
    n = 0
    for code in codes:
        combining = np.int64(_COMBINING[_entry(code)])
        if starter >= 0 and (n == starter + 1 or 0 < before < combining):
            composite = _pair(codes[starter], code)
            if composite > 0:
                codes[starter] = composite
                continue
        if combining == 0:
            starter = n
        before = combining
        codes[n] = code
        n += 1
    return n


@njit(cache=True, nogil=True)
def _pair(first: int | np.int64, second: int | np.int64) -> int | np.int64:
    """What two characters compose to, 0 if they do not."""
    if 0 <= first - _LEADING < _N_LEADING and 0 <= second - _VOWEL < _N_VOWELS:
        return _SYLLABLE + ((first - _LEADING) * _N_VOWELS + second - _VOWEL) * _N_TAILS
    syllable = first - _SYLLABLE
    if 0 <= syllable < _N_SYLLABLES and syllable % _N_TAILS == 0 and 0 < second - _TAIL < _N_TAILS:
        return first + second - _TAIL
    pair = first << _CODE_BITS | second
    found = np.searchsorted(_PAIRS, pair)
    return _COMPOSITES[found] if found < _PAIRS.size and _PAIRS[found] == pair else 0

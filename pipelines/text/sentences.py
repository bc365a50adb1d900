"""Sentences of a text, by rules, in offsets of the string as its writer typed it.

A sentence ends with ``.``, ``!``, ``?`` or a mark like them, and has the quotes and brackets behind
it. A full stop ends nothing after an abbreviation or an initial, inside of a number, a name
or an ellipsis, nor before a letter, unless it stands between a lower-case and an upper-case one
("good.Bad"). In scripts without spaces, every such mark ends a sentence. Abbreviations, and whether
a full stop makes a number an ordinal, depend on the language (see `pipelines.text.languages`).

The marks and the abbreviations are those of spaCy, and so are, nearly, the rules: those of its
``sentencizer`` over its tokens. That takes seconds for a text of 100,000 quotes, during which
no other thread runs; this takes milliseconds and lets them run.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.config.params import Language
from pipelines.text.characters import TABLE_SIZE
from pipelines.text.languages import LANGUAGES
from pipelines.text.offsets import normalise_located
from pipelines.text.tokens import HASH_FACTOR, HASH_START

_SPACE: Final = 0
_LOWER: Final = 1
"""Lower-case letters, and letters of scripts without cases."""
_UPPER: Final = 2
_DIGIT: Final = 3
_OTHER: Final = 4
"""Symbols, emoji, accents."""
_MARK: Final = 5
"""Punctuation; so are the two below."""
_END: Final = 6
_WIDE_END: Final = 7
"""Ends a sentence without a space behind it."""

_DOT: Final = ord(".")
_LONGEST: Final = 12
"""Characters of an abbreviation."""


def split_sentences(text: str, language: Language = "en") -> list[tuple[int, int]]:
    """Split `text` into sentences; number i is ``text[start:end]`` of the i-th pair.

    They stand in order, do not overlap, and leave out only white space and what is not shown. HTML
    tags and entities are seen as the scorer sees them. Takes time that is linear in the text.
    """
    located = normalise_located(text)
    encoded = located.text.encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(encoded, dtype=np.uint32)
    ordinals = LANGUAGES[language].ordinals
    starts, lasts = _find(codes, _kinds(), _abbreviations(language), ordinals)
    spans = zip(located.starts[starts].tolist(), located.ends[lasts].tolist(), strict=True)
    return list(spans)


@cache
def _kinds() -> NDArray[np.uint8]:
    """What each character is, indexed by code point."""
    from spacy.pipeline.sentencizer import Sentencizer

    categories = {
        **dict.fromkeys(("Lu", "Lt"), _UPPER),
        **dict.fromkeys(("Ll", "Lm", "Lo"), _LOWER),
        **dict.fromkeys(("Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps"), _MARK),
        **dict.fromkeys(("Zs", "Zl", "Zp", "Cc", "Cs"), _SPACE),
        "Nd": _DIGIT,
    }
    found = [categories.get(unicodedata.category(chr(code)), _OTHER) for code in range(TABLE_SIZE)]
    kinds = np.array(found, dtype=np.uint8)
    for mark in Sentencizer.default_punct_chars:
        if ord(mark) < TABLE_SIZE:
            wide = unicodedata.east_asian_width(mark) in ("F", "H", "W")
            kinds[ord(mark)] = _WIDE_END if wide else _END
    return kinds


@cache
def _abbreviations(language: Language) -> NDArray[np.uint64]:
    """Hashes of the abbreviations without their last full stop."""
    from spacy.util import get_lang_class

    rules = get_lang_class("xx" if language == "other" else language).Defaults
    found = [word[:-1] for word in rules.tokenizer_exceptions if word[-1] == "."]
    codes = [np.array([ord(letter) for letter in word], dtype=np.uint32) for word in found]
    hashes = [_hash(word, 0, word.size) for word in codes if 0 < word.size <= _LONGEST]
    return np.array(hashes, dtype=np.uint64)


@njit(cache=True, nogil=True)
def _find(
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    abbreviations: NDArray[np.uint64],
    ordinals: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the first and of the last character of each sentence."""
    n = codes.size
    starts = np.empty(n, dtype=np.int64)
    lasts = np.empty(n, dtype=np.int64)
    count = 0
    start = -1
    ended = False
    i = 0
    while i < n:
        kind = _kind(codes, i, kinds)
        if kind == _SPACE:
            i += 1
            continue
        j = i + 1
        closes = belongs = False
        if kind >= _MARK:
            while j < n and _kind(codes, j, kinds) >= _MARK:
                j += 1
            closes = _closes(codes, i, j, kinds, abbreviations, ordinals)
            # Between spaces, marks belong to what stands before them, else to the word behind.
            belongs = _kind(codes, j, kinds) == _SPACE
        if start < 0 or (ended and not belongs):
            start = i
            starts[count] = i
            count += 1
            ended = False
        lasts[count - 1] = j - 1
        ended = ended or closes
        i = j
    return starts[:count], lasts[:count]


@njit(cache=True, nogil=True, inline="always")
def _kind(codes: NDArray[np.uint32], at: int, kinds: NDArray[np.uint8]) -> int:
    """The kind of a character; around the text there is space, and ideographs have no case."""
    if at < 0 or at >= codes.size:
        return _SPACE
    return int(kinds[codes[at]]) if codes[at] < kinds.size else _LOWER


@njit(cache=True, nogil=True)
def _closes(
    codes: NDArray[np.uint32],
    start: int,
    end: int,
    kinds: NDArray[np.uint8],
    abbreviations: NDArray[np.uint64],
    ordinals: bool,
) -> bool:
    """Whether a sentence ends with one of the marks ``codes[start:end]``."""
    before = _kind(codes, start - 1, kinds)
    after = _kind(codes, end, kinds)
    apart = after in (_SPACE, _OTHER) or (before == _LOWER and after == _UPPER)
    for k in range(start, end):
        kind = _kind(codes, k, kinds)
        if kind == _WIDE_END:
            return True
        if kind != _END or not apart:
            continue
        if codes[k] != _DOT:
            return True
        ellipsis = (k > start and codes[k - 1] == _DOT) or (k + 1 < end and codes[k + 1] == _DOT)
        if not ellipsis and (
            k > start or not _is_short(codes, start, kinds, abbreviations, ordinals)
        ):
            return True
    return False


@njit(cache=True, nogil=True)
def _is_short(
    codes: NDArray[np.uint32],
    end: int,
    kinds: NDArray[np.uint8],
    abbreviations: NDArray[np.uint64],
    ordinals: bool,
) -> bool:
    """Whether an abbreviation, an initial or, if there are any, an ordinal ends at `end`."""
    before = _kind(codes, end - 1, kinds)
    if before == _DIGIT:
        first = end - 1 if _kind(codes, end - 2, kinds) != _DIGIT else end - 2
        return ordinals and _kind(codes, first - 1, kinds) == _SPACE
    if before == _UPPER:
        return _kind(codes, end - 2, kinds) != _UPPER
    start = end
    while start > 0 and end - start <= _LONGEST:
        kind = _kind(codes, start - 1, kinds)
        if kind != _LOWER and kind != _UPPER and codes[start - 1] != _DOT:
            break
        start -= 1
    return bool(np.any(abbreviations == _hash(codes, start, end)))


@njit(cache=True, nogil=True)
def _hash(codes: NDArray[np.uint32], start: int, end: int) -> np.uint64:
    value = HASH_START
    for at in range(start, end):
        value = (value ^ np.uint64(codes[at])) * HASH_FACTOR
    return value

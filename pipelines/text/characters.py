"""Kinds of Unicode characters and their folded code points: tables and look-ups."""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.utf8 import decode

SEPARATOR: Final = 0
WORD: Final = 1
"""Letters and digits of which words consist."""
SYMBOL: Final = 2
"""Emoji and pictographs."""
CHARACTER: Final = 3
"""Letters and digits of scripts without spaces, each of them a token."""
MARK: Final = 4
"""Accents, vowel signs and the like: part of the word or character before them."""
IGNORED: Final = 5
"""Skin tones, joiners, variation selectors: belong to what they stand after, and do not count."""
APOSTROPHE: Final = 6
PUNCTUATION: Final = 7
"""Sentence marks besides the ASCII ones, which they count as."""

TABLE_SIZE: Final = 0x20000
"""Characters from here on are ideographs, invisible or unassigned."""

APOSTROPHES: Final = (
    "'`\u00b4\u0091\u0092\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca\u02cb\u02f4\u055a\u05f3"
    "\u1fbd\u1fbf\u1ffe\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u275b\u275c\ua78b\ua78c"
    "\uff07\uff40"
)
"""Characters typed for an apostrophe; U+0091 and U+0092 are Windows-1252 read as Latin-1."""

_PUNCTUATION: Final = {
    ".": "\u3002\uff61\uff0e\ufe52\u2026\u0964\u0965\u06d4",
    ",": "\u3001\uff64\uff0c\ufe50\ufe51\u060c\u1363",
    "!": "\uff01\ufe57\u203c",
    "?": "\uff1f\ufe56\u2047\u2048\u2049\u061f",
    ":": "\uff1a\ufe55",
    ";": "\uff1b\ufe54\u061b",
}

# After Unicode's line breaking classes ID, CJ and SA, with Balinese and Javanese.
_WITHOUT_SPACES: Final = [
    range(0x0E00, 0x0F00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Myanmar
    range(0x1780, 0x1800),  # Khmer
    range(0x1950, 0x1A00),  # Tai Le, New Tai Lue
    range(0x1A20, 0x1AB0),  # Tai Tham
    range(0x1B00, 0x1B80),  # Balinese
    range(0x3005, 0x3008),
    range(0x3021, 0x3130),  # kana, bopomofo
    range(0x3190, 0x3200),
    range(0x3400, 0xA4D0),  # ideographs, Yi
    range(0xA980, 0xAA00),  # Javanese, Myanmar
    range(0xAA60, 0xAAE0),  # Myanmar, Tai Viet
    range(0xF900, 0xFB00),
    range(0xFF66, 0xFFA0),  # half-width kana
    range(0x11700, 0x11750),  # Ahom
    range(0x16FE0, 0x1B300),  # Tangut, kana, Nushu
]

# Blocks of a single kind, to save looking up each character: ideographs, Hangul syllables,
# surrogates and private characters.
_BLOCKS: Final = {
    range(0x3400, 0x4DC0): CHARACTER,
    range(0x4E00, 0xA000): CHARACTER,
    range(0xAC00, 0xD7A4): WORD,
    range(0xD800, 0xF900): SEPARATOR,
}

# Emoji that are newer than this Python's tables are emoji all the same.
_EMOJI: Final = range(0x1F000, 0x1FB00)
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
_VARIATION_SELECTORS: Final = frozenset(chain(range(0x180B, 0x1810), range(0xFE00, 0xFE10)))
_GRAPHEME_JOINER: Final = 0x034F
_HALF_WIDTH_VOICING: Final = range(0xFF9E, 0xFFA0)  # to Unicode, letters


class CharacterTables(NamedTuple):
    """Tables indexed by code point.

    Attributes
    ----------
    kinds : uint8 array, shape (TABLE_SIZE,)
        `WORD`, `SYMBOL` and so on.
    folded : uint32 array, shape (TABLE_SIZE,)
        The code point that a character counts as: lower case, ASCII for full-width letters,
        digits and sentence marks, the plain letter for a mathematical one. Where that would be
        several characters, the character itself.
    """

    kinds: NDArray[np.uint8]
    folded: NDArray[np.uint32]


@cache
def character_tables() -> CharacterTables:
    """The tables for the Unicode version of this Python, made once per process."""
    without_spaces = frozenset(chain.from_iterable(_WITHOUT_SPACES))
    kinds = np.zeros(TABLE_SIZE, dtype=np.uint8)
    folded = np.arange(TABLE_SIZE, dtype=np.uint32)
    for block, kind in _BLOCKS.items():
        kinds[block.start : block.stop] = kind
    for code in sorted(set(range(TABLE_SIZE)).difference(*_BLOCKS)):
        character = chr(code)
        if character.isalnum():
            kinds[code] = CHARACTER if code in without_spaces else WORD
            folded[code] = _folded(character)
        elif code > 0x7F:
            kinds[code] = _kind(code, unicodedata.category(character))
    for mark, others in _PUNCTUATION.items():
        for other in others:
            kinds[ord(other)], folded[ord(other)] = PUNCTUATION, ord(mark)
    kinds[[ord(character) for character in APOSTROPHES]] = APOSTROPHE
    kinds[_HALF_WIDTH_VOICING.start : _HALF_WIDTH_VOICING.stop] = MARK
    return CharacterTables(kinds, folded)


def _kind(code: int, category: str) -> int:
    """Kind of a character that is neither letter nor digit nor ASCII."""
    if category == "Cf" or code in _SKIN_TONES or code in _VARIATION_SELECTORS:
        return IGNORED
    if category[0] == "M":
        return IGNORED if code == _GRAPHEME_JOINER else MARK
    if category == "So" and code != 0xFFFD:
        return SYMBOL
    return SYMBOL if category == "Cn" and code in _EMOJI else SEPARATOR


def _folded(character: str) -> int:
    if unicodedata.decomposition(character):
        plain = unicodedata.normalize("NFKC", character)
        character = plain if len(plain) == 1 else character
    lowered = character.lower()
    return ord(lowered if len(lowered) == 1 else character)


@njit(cache=True, nogil=True)
def kind_of(code: int | np.int64, kinds: NDArray[np.uint8]) -> int | np.int64:
    """Kind of the character `code`; `SEPARATOR` for -1."""
    if code < 0:
        return SEPARATOR
    if code < TABLE_SIZE:
        return np.int64(kinds[code])
    if code < 0x40000:  # the ideographic planes
        return CHARACTER
    return IGNORED if 0xE0000 <= code < 0xE1000 else SEPARATOR  # tags, variation selectors


@njit(cache=True, nogil=True)
def folded_code(code: int | np.int64, folded: NDArray[np.uint32]) -> np.int64:
    """The code point that `code` counts as."""
    return np.int64(folded[code]) if code < TABLE_SIZE else np.int64(code)


@njit(cache=True, nogil=True)
def kind_at(
    buffer: NDArray[np.uint8], at: int, stop: int, kinds: NDArray[np.uint8]
) -> int | np.int64:
    """Kind of the character at `at`; `SEPARATOR` at the end."""
    return kind_of(decode(buffer, at, stop)[0], kinds) if at < stop else SEPARATOR

"""What each Unicode character is to the tokeniser, and its lower case, as tables."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SEPARATOR: Final = 0
WORD: Final = 1
SYMBOL: Final = 2

TABLE_SIZE: Final = 0x20000
"""Characters from here on are ideographs (words) or unassigned."""

# Shape the emoji before them, or say nothing.
_SILENT: Final = frozenset("\ufffd") | {chr(code) for code in range(0x1F3FB, 0x1F400)}


class CharacterTables(NamedTuple):
    """Tables indexed by code point.

    Attributes
    ----------
    kinds : uint8 array, shape (TABLE_SIZE,)
        `SEPARATOR`, `WORD` (letters, digits and the marks on them) or `SYMBOL` (emoji and
        pictographs).
    lower : uint32 array, shape (TABLE_SIZE,)
        The lower-case code point, where lower-casing gives a single character.
    """

    kinds: NDArray[np.uint8]
    lower: NDArray[np.uint32]


@cache
def character_tables() -> CharacterTables:
    """The tables for the Unicode version of this Python, made once per process."""
    kinds = np.zeros(TABLE_SIZE, dtype=np.uint8)
    lower = np.arange(TABLE_SIZE, dtype=np.uint32)
    for code in range(TABLE_SIZE):
        character = chr(code)
        if character.isalnum():
            kinds[code] = WORD
            lowered = character.lower()
            if lowered != character and len(lowered) == 1:
                lower[code] = ord(lowered)
        elif code > 0x7F:
            category = unicodedata.category(character)
            if category[0] == "M" and not 0xFE00 <= code <= 0xFE0F:
                kinds[code] = WORD
            elif category == "So" and character not in _SILENT:
                kinds[code] = SYMBOL
    return CharacterTables(kinds, lower)

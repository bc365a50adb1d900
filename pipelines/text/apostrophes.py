"""Apostrophes inside words: typed, escaped, garbled by a wrong decoding, lost, or mistyped.

The definition is that of `pipelines.text.tokens`.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.characters import APOSTROPHE, MARK, WORD, folded_code, kind_at, kind_of
from pipelines.text.utf8 import decode

_BACKSLASH: Final = 0x5C
_SPACE: Final = 0x20
_COMMA: Final = 0x2C
_QUESTION: Final = 0x3F
_SEMICOLON: Final = 0x3B
_T: Final = 0x74


def _garbled_apostrophes() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Byte strings that escaping or a wrong decoding makes of an apostrophe.

    Returns them, one a row; their lengths; and whether one begins with a byte, by byte.
    """
    garbled = {rf"\u{ord(typed):04x}" for typed in "'\u2018\u2019"}
    garbled |= {r"\x27", r"\x92", r"\xe2\x80\x98", r"\xe2\x80\x99"}
    # UTF-8 read as something else, once (or twice, in other ways).
    for typed in "\u2018\u2019\u201b\u2032\u00b4\u02bc":
        for encoding in ("cp1252", "latin-1", "mac_roman"):
            garbled.add(typed.encode().decode(encoding, "replace"))
    garbled |= {"\x89\u00db\u00aa", "\u2030\u00db\u00aa", "\u00a1\u00a6", "\u00ef\u00bf\u00bd"}
    rows = sorted(string.encode() for string in garbled if "\ufffd" not in string)
    table = np.zeros((len(rows), max(map(len, rows))), dtype=np.uint8)
    begins = np.zeros(256, dtype=np.bool_)
    for row, string in enumerate(rows):
        table[row, : len(string)] = list(string)
        begins[string[0]] = True
    return table, np.array([len(string) for string in rows]), begins


_GARBLED, _GARBLED_LENGTHS, BEGINS_GARBLED = _garbled_apostrophes()

_LOST: Final = (0xFFFD, 0x11, 0x12, 0x18, 0x19)
"""Code points left by a quotation mark that could not be decoded, or lost its higher bits."""
_MOST_STAND_INS: Final = 3
"""Most of them, or of apostrophes, in a row that stand for one."""


@njit(cache=True, nogil=True)
def apostrophe_length(
    buffer: NDArray[np.uint8], at: int, stop: int, kinds: NDArray[np.uint8]
) -> int:
    """Length of what stands for an apostrophe inside a word at `at`; 0 if nothing does."""
    escaped = at
    while escaped < stop and buffer[escaped] == _BACKSLASH:
        escaped += 1
    end = _garbled_end(buffer, max(at, escaped - 1), stop)
    if end > 0 and kind_at(buffer, end, stop, kinds) == WORD:
        return end - at
    if escaped < stop:
        code, size = decode(buffer, escaped, stop)
        end = escaped + size
        if kind_of(code, kinds) == APOSTROPHE and kind_at(buffer, end, stop, kinds) == WORD:
            return end - at
    end = at
    for _ in range(_MOST_STAND_INS):
        if end >= stop:
            break
        code, size = decode(buffer, end, stop)
        if code not in _LOST and kind_of(code, kinds) != APOSTROPHE:
            break
        end += size
    return end - at if end > at and _is_ending(buffer, end, stop, kinds) else 0


@njit(cache=True, nogil=True)
def _garbled_end(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """The end of the garbled apostrophe at `at`; 0 if there is none."""
    if not BEGINS_GARBLED[buffer[at]]:
        return 0
    for row in range(_GARBLED_LENGTHS.size):
        end = at + _GARBLED_LENGTHS[row]
        if end <= stop and (buffer[at:end] == _GARBLED[row, : end - at]).all():
            return int(end)
    return 0


@njit(cache=True, nogil=True)
def _is_ending(buffer: NDArray[np.uint8], at: int, stop: int, kinds: NDArray[np.uint8]) -> bool:
    """Whether the ending of a contraction, and with it the word, follows at `at`."""
    if at >= stop:
        return False
    first = buffer[at] | 32
    second = buffer[at + 1] | 32 if at + 1 < stop else np.uint8(_SPACE)
    size = 0
    if first == 115 or first == 116 or first == 109 or first == 100:  # s t m d
        size = 1
    if (first == 114 or first == 118) and second == 101:  # re ve
        size = 2
    if first == 108 and second == 108:  # ll
        size = 2
    return size > 0 and kind_at(buffer, at + size, stop, kinds) not in (WORD, MARK)


@njit(cache=True, nogil=True)
def size_of_t(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
) -> int:
    """Length of the ``t`` at `at`, in either case, with which a word ends; 0 if none does."""
    if at >= stop or (buffer[at] < 0x80 and buffer[at] | 32 != _T):
        return 0
    code, size = decode(buffer, at, stop)
    if code < 0 or folded_code(code, folded) != _T:
        return 0
    return size if kind_at(buffer, at + size, stop, kinds) not in (WORD, MARK) else 0


@njit(cache=True, nogil=True)
def is_slip(byte: int) -> bool:
    """Whether `byte` is typed by mistake for an apostrophe: ``;``, ``,`` or ``?``."""
    return byte in (_SEMICOLON, _COMMA, _QUESTION)

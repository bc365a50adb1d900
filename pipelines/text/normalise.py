"""Text normalisation: HTML tags become a space, entities their character, white space one space.

There is one definition, a compiled kernel on UTF-8 bytes. `olens preprocess` applies it to whole
columns to find equal texts; the vectorizer and the scorer apply it to every text they read.
Normalising twice changes nothing, so prepared and raw texts have the same features.

A tag is ``<`` or ``</`` and a letter, or ``<!``, up to the next ``>`` with no ``<`` between: ``<3``
and ``a < b`` are text. Entities are those of HTML 4 and numeric ones, with their semicolon. Letters
are composed as in Unicode's NFC. Left out are the soft hyphen, the zero-width space, the word
joiner, the byte order mark and the Mongolian vowel separator; joiners and variation selectors,
which shape emoji, stay.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import html.entities
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.buffers import text_buffer
from pipelines.text.composing import GROWTH, compose
from pipelines.text.utf8 import decode, encode

if TYPE_CHECKING:
    import polars as pl

_AMPERSAND: Final = 38
_HASH: Final = 35
_SEMICOLON: Final = 59
_LESS: Final = 60
_GREATER: Final = 62
_SPACE: Final = 32
_SLASH: Final = 47
_EXCLAMATION: Final = 33

# Decoding may reveal another entity or tag (`&lt;br&gt;`). Each pass removes one layer; a text with
# more layers than this is not written by people, and its remaining marks become spaces.
_PASSES: Final = 4
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LONGEST_ENTITY: Final = 10

_ROWS_PER_TASK: Final = 4096

_FNV_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x100000001B3)


def normalise(text: str) -> str:
    """Normalise one text; a lone surrogate becomes U+FFFD."""
    text = _SURROGATE.sub("\ufffd", text)
    raw = np.frombuffer(text.encode(), dtype=np.uint8)
    buffer = np.empty(GROWTH * raw.size, dtype=np.uint8)
    buffer[: raw.size] = raw
    length = normalise_bytes(buffer, raw.size, _NO_MAP, _NO_MAP)
    return buffer[:length].tobytes().decode("utf-8")


def normalise_column(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Normalise a column of texts.

    Parameters
    ----------
    texts : pl.Series of String, length n, without nulls

    Returns
    -------
    normalised : pl.Series of String, length n
    digests : pl.Series of UInt64, length n
        A hash of the normalised text, the same on every machine and in every version.
    """
    import nanoarrow as na
    import polars as pl

    digests = np.empty(len(texts), dtype=np.uint64)

    def normalised_rows(first: int) -> pl.Series:
        # A few at a time: a list of texts takes more memory than their column.
        part = texts[first : first + _ROWS_PER_TASK]
        data, offsets = text_buffer(part.to_list())
        packed, ends = _normalise_rows(data, offsets, digests[first : first + len(part)])
        buffers = [None, ends, packed[: ends[-1]]]
        return pl.Series(na.c_array_from_buffers(na.large_string(), len(part), buffers))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(normalised_rows, range(0, len(texts), _ROWS_PER_TASK)))
    series = pl.concat([pl.Series([], dtype=pl.String), *parts]).rename(texts.name)
    return series, pl.Series("digest", digests)


def _entity_table() -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Sorted hashes of the entity names, and their code points in the same order."""
    names = {**html.entities.name2codepoint, "apos": 39}
    hashes = {_hash_name(name): code for name, code in names.items()}
    assert len(hashes) == len(names)
    keys = np.array(sorted(hashes), dtype=np.uint64)
    return keys, np.array([hashes[int(key)] for key in keys], dtype=np.uint32)


def _hash_name(name: str) -> int:
    value = int(_FNV_OFFSET)
    for byte in name.encode():
        value = ((value ^ byte) * int(_FNV_PRIME)) & 0xFFFFFFFFFFFFFFFF
    return value


_NO_MAP: Final = np.empty(0, dtype=np.int64)
_NAME_HASHES, _NAME_CODES = _entity_table()
# Browsers read the numeric entities 128 to 159 as Windows-1252, and so do those who write them.
_WINDOWS_1252: Final = np.array(
    [ord(bytes([code]).decode("cp1252", "replace")) for code in range(128, 160)], dtype=np.uint32
)

# First bytes of white space and of what has no width.
_LEADS_OF_SPACES: Final = (0xC2, 0xE1, 0xE2, 0xE3, 0xEF)

# Bytes that are copied as they are, which is nearly all.
_PLAIN: Final = np.array(
    [byte > _SPACE and byte not in (_AMPERSAND, _LESS, *_LEADS_OF_SPACES) for byte in range(256)]
)

_RUN: Final = _PLAIN | (np.arange(256) == _SPACE)


@njit(cache=True, nogil=True)
def normalise_bytes(
    buffer: NDArray[np.uint8],
    stop: int,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> int:
    """Normalise ``buffer[:stop]`` in place; returns the new end.

    Parameters
    ----------
    buffer : uint8 array
        UTF-8; bytes that are not UTF-8 are kept as they are. There is room for `GROWTH` times as
        many bytes.
    first, last : int64 arrays, empty or as long as `buffer`
        Carried along with the bytes. Filled with ``i`` and ``i + 1`` before the call, they hold
        afterwards the span of the original that each remaining byte stands for.
    """
    for _ in range(_PASSES):
        again, stop = _pass(buffer, 0, stop, first, last)
        composed, stop = compose(buffer, 0, stop, first, last)
        if composed:  # a Greek question mark is a semicolon, which may end an entity
            again = _any_opens(buffer, 0, stop)
        if not again:
            return stop
    for i in range(stop - 1):
        if _opens(buffer, i, stop):
            buffer[i] = _SPACE
    return _pass(buffer, 0, stop, first, last)[1]


@njit(cache=True, nogil=True)
def hash_bytes(buffer: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """FNV-1a of ``buffer[start:stop]`` with its bits mixed, 64 bits."""
    value = _FNV_OFFSET
    for i in range(start, stop):
        value = (value ^ np.uint64(buffer[i])) * _FNV_PRIME
    return mix(value)


@njit(cache=True, nogil=True, inline="always")
def mix(value: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def _normalise_rows(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    digests: NDArray[np.uint64],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Normalise the texts of `data`, and fill in their digests.

    Returns a buffer with the texts, which may have room at its end, and their offsets in it.
    """
    longest = 0
    for row in range(digests.size):
        longest = max(longest, offsets[row + 1] - offsets[row])
    text = np.empty(GROWTH * longest, dtype=np.uint8)
    packed = np.empty(data.size, dtype=np.uint8)
    nothing = np.empty(0, dtype=np.int64)
    ends = np.zeros(digests.size + 1, dtype=np.int64)
    at = 0
    for row in range(digests.size):
        size = offsets[row + 1] - offsets[row]
        text[:size] = data[offsets[row] : offsets[row + 1]]
        size = normalise_bytes(text, size, nothing, nothing)
        digests[row] = hash_bytes(text, 0, size)
        if at + size > packed.size:  # composing has made texts longer, which is rare
            packed = np.concatenate((packed[:at], np.empty(at + size, dtype=np.uint8)))
        packed[at : at + size] = text[:size]
        at += size
        ends[row + 1] = at
    return packed, ends


@njit(cache=True, nogil=True)
def _pass(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> tuple[bool, int]:
    """One pass in place. Returns whether another would change more, and the new end.

    Nothing ever gets longer, so writing stays behind reading.
    """
    tracked = first.size > 0
    read = start
    write = start
    marks = False
    pending = False
    pending_first = np.int64(0)
    pending_last = np.int64(0)
    while read < stop:
        byte = buffer[read]
        if _PLAIN[byte]:
            if pending and write > start:
                buffer[write] = _SPACE
                if tracked:
                    first[write] = pending_first
                    last[write] = pending_last
                write += 1
            pending = False
            if tracked:
                buffer[write] = byte
                first[write] = first[read]
                last[write] = last[read]
                write += 1
                read += 1
                continue
            # Nearly all there is goes in one run whose only branch is where it ends: plain bytes
            # and single spaces. A space at its end may be the first of several.
            before = np.uint8(0)
            while read < stop:
                byte = buffer[read]
                if (not _RUN[byte]) | ((byte == _SPACE) & (before == _SPACE)):
                    break
                buffer[write] = byte
                before = byte
                write += 1
                read += 1
            if before == _SPACE:
                write -= 1
                pending = True
            continue
        step = 1
        code: int | np.int64 = np.int64(-1)
        if byte == _LESS:
            step = _tag(buffer, read, stop)
            if step == 0:
                step = 1
                marks = True
            else:
                code = _SPACE
        elif byte == _AMPERSAND:
            code, step = _entity(buffer, read, stop)
            if code < 0:
                step = 1
            marks = True
        found, width = code, step
        if code < 0:
            found, width = decode(buffer, read, stop)
        if _has_no_width(found):
            read += width
            continue
        if _is_white(found):
            if tracked:
                if not pending:
                    pending_first = first[read]
                pending_last = last[read + width - 1]
            pending = True
            read += width
            continue
        if pending and write > start:
            buffer[write] = _SPACE
            if tracked:
                first[write] = pending_first
                last[write] = pending_last
            write += 1
        pending = False
        if code < 0:
            buffer[write] = byte
            if tracked:
                first[write] = first[read]
                last[write] = last[read]
            write += 1
        else:
            if tracked:
                from_first = first[read]
                to_last = last[read + step - 1]
            size = encode(buffer, write, code)
            if tracked:
                for i in range(write, write + size):
                    first[i] = from_first
                    last[i] = to_last
            write += size
        read += step
    return marks and _any_opens(buffer, start, write), write


@njit(cache=True, nogil=True)
def _any_opens(buffer: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Whether a tag or an entity stands anywhere in ``buffer[start:stop]``."""
    for i in range(start, stop):
        if buffer[i] == _LESS and _tag(buffer, i, stop) > 0:
            return True
        if buffer[i] == _AMPERSAND and _entity(buffer, i, stop)[0] >= 0:
            return True
    return False


@njit(cache=True, nogil=True, inline="always")
def _opens(buffer: NDArray[np.uint8], at: int, stop: int) -> bool:
    """Whether ``buffer[at]`` could begin a tag or an entity, complete or not."""
    following = buffer[at + 1]
    if buffer[at] == _LESS:
        return following in (_SLASH, _EXCLAMATION) or _is_letter(following)
    return buffer[at] == _AMPERSAND and (following == _HASH or _is_letter(following))


@njit(cache=True, nogil=True, inline="always")
def _is_letter(byte: int) -> bool:
    return 97 <= (byte | 32) <= 122


@njit(cache=True, nogil=True)
def _tag(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """Length in bytes of the tag that begins at `at`, 0 if none does."""
    i = at + 1
    if i < stop and buffer[i] == _SLASH:
        i += 1
        if i >= stop or not _is_letter(buffer[i]):
            return 0
    elif i >= stop or not (_is_letter(buffer[i]) or buffer[i] == _EXCLAMATION):
        return 0
    while i < stop:
        if buffer[i] == _GREATER:
            return i + 1 - at
        if buffer[i] == _LESS:
            return 0
        i += 1
    return 0


@njit(cache=True, nogil=True)
def _entity(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int | np.int64, int]:
    """Code point and length in bytes of the entity that begins at `at`; (-1, 0) if none does."""
    end = min(stop, at + _LONGEST_ENTITY)
    i = at + 1
    if i < end and buffer[i] == _HASH:
        return _numeric_entity(buffer, at, end)
    value = _FNV_OFFSET
    while i < end and buffer[i] != _SEMICOLON:
        if not (_is_letter(buffer[i]) or 48 <= buffer[i] <= 57):
            return -1, 0
        value = (value ^ np.uint64(buffer[i])) * _FNV_PRIME
        i += 1
    if i >= end or i == at + 1:
        return -1, 0
    found = np.searchsorted(_NAME_HASHES, value)
    if found < _NAME_HASHES.size and _NAME_HASHES[found] == value:
        return np.int64(_NAME_CODES[found]), i + 1 - at
    return -1, 0


@njit(cache=True, nogil=True)
def _numeric_entity(buffer: NDArray[np.uint8], at: int, end: int) -> tuple[int | np.int64, int]:
    """As `_entity`, for ``&#39;`` and ``&#x27;``."""
    i = at + 2
    base = 10
    if i < end and (buffer[i] | 32) == 120:
        base = 16
        i += 1
    digits = 0
    code: int | np.int64 = 0
    while i < end and buffer[i] != _SEMICOLON:
        byte = buffer[i]
        if 48 <= byte <= 57:
            digit = byte - 48
        elif base == 16 and 97 <= (byte | 32) <= 102:
            digit = (byte | 32) - 87
        else:
            return -1, 0
        code = code * base + digit
        digits += 1
        i += 1
    if i >= end or digits == 0:
        return -1, 0
    if 128 <= code < 160:
        code = np.int64(_WINDOWS_1252[code - 128])
    if code == 0 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        code = 0xFFFD
    return code, i + 1 - at


@njit(cache=True, nogil=True, inline="always")
def _is_white(code: int) -> bool:
    """White space as `str.split` sees it."""
    return (
        9 <= code <= 13
        or 28 <= code <= 32
        or code == 0x85
        or code == 0xA0
        or code == 0x1680
        or 0x2000 <= code <= 0x200A
        or code == 0x2028
        or code == 0x2029
        or code == 0x202F
        or code == 0x205F
        or code == 0x3000
    )


@njit(cache=True, nogil=True, inline="always")
def _has_no_width(code: int) -> bool:
    return code in (0xAD, 0x180E, 0x200B, 0x2060, 0xFEFF)

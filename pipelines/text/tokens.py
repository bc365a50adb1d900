"""Tokens: the one definition of what a word is, as a compiled kernel on normalised UTF-8.

A token is

- a word: letters, digits and their marks, lower-cased, a character three times or more in a row
  counted twice (``soooo`` is ``soo``), with the apostrophes inside it (``it's``, also with ``’``);
- ``n't`` alone, or at the end of a word with no other apostrophe: the word ``not`` (``wasn't`` is
  ``was not``);
- ``!``, ``?`` and the sentence marks ``.``, ``,``, ``;``, ``:``, each run of one of them once;
- an emoticon: eyes ``: ; =``, perhaps a tear ``'`` and a nose ``- ^ o``, a mouth; or ``<3``. Tear
  and nose do not count, nor the kind of bracket of ``) ] }`` and ``( [ {``, nor the case of
  ``D P O S X``, nor which way ``/`` leans; ``|`` and ``*`` are mouths too. No letter, digit or
  ``_`` of ASCII follows ``<3`` or a letter, and no ``/`` follows a slash;
- an emoji or another pictograph, each by itself, without skin tones and joiners;
- an address up to the next space, all alike: ``http://``, ``https://`` or ``www.`` and more;
- an ``@handle`` of ASCII letters, digits and ``_``, all handles alike.

Everything else separates. Where several begin, the first of: word or address, emoji, emoticon,
sentence mark, handle. A token is represented by a 64-bit hash of its characters.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.characters import SYMBOL, TABLE_SIZE, WORD

TOKENS_VERSION: Final = 3
"""Counts up when this definition or that of n-grams changes: models of another one are refused."""

HASH_START: Final = np.uint64(0xCBF29CE484222325)
HASH_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
"""A hash of characters begins with the one; each is xored to it, then it is multiplied."""

# Tokens that stand for a kind of thing are hashed as one character that Unicode will never have.
_ADDRESS: Final = 0x110000
_HANDLE: Final = 0x110001
_EMOTICON: Final = 0x110002

_SPACE: Final = 0x20
_EXCLAMATION: Final = 0x21
_COMMA: Final = 0x2C
_STOP: Final = 0x2E
_QUESTION: Final = 0x3F
_COLON: Final = 0x3A
_APOSTROPHE: Final = 0x27
_RIGHT_QUOTE: Final = 0x2019
_N: Final = 0x6E


def check_version(version: object) -> None:
    """Refuse what was made for another version of the definition of tokens.

    Raises
    ------
    ValueError
        Which says what to do.
    """
    if version != TOKENS_VERSION:
        raise ValueError(
            f"it was trained with version {version} of the definition of words, and this version "
            f"of OpinionLens reads texts by version {TOKENS_VERSION}; train the model again"
        )


def word_hash(word: str) -> np.uint64:
    """Hash of a word of lower-case letters, none three times in a row."""
    value = int(HASH_START)
    for character in word:
        value = ((value ^ ord(character)) * int(HASH_FACTOR)) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(value)


_NOT: Final = word_hash("not")

# What nearly all characters of words are, without a look at the large tables: the lower case of
# an ASCII letter or digit, 0 for every other byte.
_ASCII_WORD: Final = np.array(
    [ord(chr(byte).lower()) if byte < 0x80 and chr(byte).isalnum() else 0 for byte in range(256)],
    dtype=np.uint8,
)


# The same with spaces for what separates words and begins no token; 0 is left for what may do
# more than that.
_STREAM: Final = np.array(
    [
        _SPACE if code == 0 and byte < 0x80 and chr(byte) not in "':;=<!?.,@" else code
        for byte, code in enumerate(_ASCII_WORD)
    ],
    dtype=np.uint8,
)


@njit(cache=True, nogil=True, inline="always")
def _decode(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int | np.int64, int]:
    """Code point and length at `at`; a byte that is not UTF-8 is the code point -1."""
    lead = np.int64(buffer[at])
    if lead < 0x80:
        return lead, 1
    if lead < 0xC2:
        return -1, 1
    if lead < 0xE0:
        if at + 1 >= stop or buffer[at + 1] & 0xC0 != 0x80:
            return -1, 1
        return (lead & 31) << 6 | np.int64(buffer[at + 1] & 63), 2
    if lead < 0xF0:
        if at + 2 >= stop or buffer[at + 1] & 0xC0 != 0x80 or buffer[at + 2] & 0xC0 != 0x80:
            return -1, 1
        code = (lead & 15) << 12 | np.int64(buffer[at + 1] & 63) << 6
        return code | np.int64(buffer[at + 2] & 63), 3
    if (
        lead > 0xF4
        or at + 3 >= stop
        or buffer[at + 1] & 0xC0 != 0x80
        or buffer[at + 2] & 0xC0 != 0x80
        or buffer[at + 3] & 0xC0 != 0x80
    ):
        return -1, 1
    code = (lead & 7) << 18 | np.int64(buffer[at + 1] & 63) << 12
    return code | np.int64(buffer[at + 2] & 63) << 6 | np.int64(buffer[at + 3] & 63), 4


@njit(cache=True, nogil=True, inline="always")
def _kind(code: int | np.int64, kinds: NDArray[np.uint8]) -> int | np.int64:
    if code < 0:
        return 0
    if code < TABLE_SIZE:
        return np.int64(kinds[code])
    return WORD if code < 0x40000 else 0


@njit(cache=True, nogil=True, inline="always")
def _is_letter(byte: int) -> bool:
    return 97 <= (byte | 32) <= 122


@njit(cache=True, nogil=True, inline="always")
def _is_name(byte: int) -> bool:
    return 97 <= (byte | 32) <= 122 or 48 <= byte <= 57 or byte == 95


@njit(cache=True, nogil=True, inline="always")
def _single(code: int | np.int64) -> np.uint64:
    """Hash of a token of one character."""
    return (HASH_START ^ np.uint64(code)) * HASH_FACTOR


@njit(cache=True, nogil=True)
def _emoticon(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[np.uint64, int]:
    """Hash and length of the emoticon that begins at `at`; length 0 if none does."""
    eyes = buffer[at]
    i = at + 1
    if eyes == 60:  # <3
        if i < stop and buffer[i] == 51 and (i + 1 >= stop or not _is_name(buffer[i + 1])):
            return _single(_EMOTICON), 2
        return np.uint64(0), 0
    if i < stop and buffer[i] == 39:  # tear: :'(
        i += 1
    if i < stop and (buffer[i] == 45 or buffer[i] == 94 or buffer[i] == 111):  # nose: - ^ o
        i += 1
    if i >= stop:
        return np.uint64(0), 0
    mouth = buffer[i]
    shape: int | np.int64
    if mouth == 41 or mouth == 93 or mouth == 125:  # ) ] }
        shape = 41
    elif mouth == 40 or mouth == 91 or mouth == 123:  # ( [ {
        shape = 40
    elif mouth == 68 or mouth == 80 or mouth == 112 or mouth == 79 or mouth == 83 or mouth == 88:
        shape = np.int64(mouth | 32)  # D P p O S X
        if i + 1 < stop and _is_name(buffer[i + 1]):
            return np.uint64(0), 0
    elif mouth == 47 or mouth == 92:  # / and backslash
        shape = 47
        if i + 1 < stop and buffer[i + 1] == 47:
            return np.uint64(0), 0
    elif mouth == 124 or mouth == 42:  # | *
        shape = np.int64(mouth)
    else:
        return np.uint64(0), 0
    wink = 1 if eyes == 59 else 0
    return _single(_EMOTICON + 2 + shape * 2 + wink), i + 1 - at


@njit(cache=True, nogil=True, inline="always")
def _address_follows(buffer: NDArray[np.uint8], start: int, at: int, stop: int) -> bool:
    """Whether the word ``buffer[start:at]`` begins an address."""
    size = at - start
    first = buffer[start] | 32
    if first == 104 and (size == 4 or size == 5):  # http, https
        return (
            at + 2 < stop
            and buffer[at] == 58
            and buffer[at + 1] == 47
            and buffer[at + 2] == 47
            and buffer[start + 1] | 32 == 116
            and buffer[start + 2] | 32 == 116
            and buffer[start + 3] | 32 == 112
            and (size == 4 or buffer[start + 4] | 32 == 115)
        )
    return (
        size == 3
        and first == 119  # www
        and at + 1 < stop
        and buffer[at] == 46
        and buffer[at + 1] > 32
        and buffer[start + 1] | 32 == 119
        and buffer[start + 2] | 32 == 119
    )


@njit(cache=True, nogil=True, inline="always")
def next_token(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    kinds: NDArray[np.uint8],
    lower: NDArray[np.uint32],
) -> tuple[np.uint64, int, int]:
    """The next token of ``buffer[at:stop]``, normalised UTF-8.

    Returns
    -------
    hash : uint64
    start, end : int
        Its bytes; ``start == stop`` when there is no further token.
    """
    i = at
    while i < stop:
        byte = buffer[i]
        if byte == 32:
            i += 1
            continue
        code, size = np.int64(byte), 1
        if _ASCII_WORD[byte] != 0:
            kind = WORD
        else:
            code, size = _decode(buffer, i, stop)
            kind = _kind(code, kinds)
        if kind == WORD:
            return _word(buffer, i, stop, kinds, lower)
        if kind == SYMBOL:
            return _single(code), i, i + size
        if byte == 58 or byte == 59 or byte == 61 or byte == 60:  # : ; = <
            value, length = _emoticon(buffer, i, stop)
            if length > 0:
                return value, i, i + length
        if byte == 33 or byte == 63 or byte == 46 or byte == 44 or byte == 59 or byte == 58:
            end = i + 1
            while end < stop and buffer[end] == byte:
                end += 1
            return _single(code), i, end
        if byte == 64 and i + 1 < stop and _is_name(buffer[i + 1]):
            end = i + 1
            while end < stop and _is_name(buffer[end]):
                end += 1
            return _single(_HANDLE), i, end
        i += size
    return np.uint64(0), stop, stop


@njit(cache=True, nogil=True)
def _unusual(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    kinds: NDArray[np.uint8],
    lower: NDArray[np.uint32],
) -> tuple[np.int64, int]:
    """Lower-case code point and length of what continues a word at `at`; length 0 if nothing."""
    code, size = _decode(buffer, at, stop)
    if code in (_APOSTROPHE, _RIGHT_QUOTE):
        # Inside a word only: the character after it must be a word character too.
        if at + size < stop:
            following, _ = _decode(buffer, at + size, stop)
            if _kind(following, kinds) == WORD:
                return np.int64(_APOSTROPHE), size
        return np.int64(0), 0
    if _kind(code, kinds) != WORD:
        return np.int64(0), 0
    return np.int64(lower[code]) if code < TABLE_SIZE else np.int64(code), size


@njit(cache=True, nogil=True)
def _ends_in_t(buffer: NDArray[np.uint8], at: int, stop: int, kinds: NDArray[np.uint8]) -> bool:
    """Whether ``t`` stands at `at`, in either case, and no word goes on after it."""
    if buffer[at] | 32 != 116:
        return False
    return at + 1 >= stop or _kind(_decode(buffer, at + 1, stop)[0], kinds) != WORD


@njit(cache=True, nogil=True, inline="always")
def _word(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    kinds: NDArray[np.uint8],
    lower: NDArray[np.uint32],
) -> tuple[np.uint64, int, int]:
    value = HASH_START
    value_before = HASH_START
    plain = True
    i = start
    end = start
    before = np.int64(-1)
    before_that = np.int64(-2)
    while i < stop:
        code = np.int64(_ASCII_WORD[buffer[i]])
        size = 1
        if code == 0:
            if buffer[i] == _SPACE:
                break
            code, size = _unusual(buffer, i, stop, kinds, lower)
            if size == 0:
                break
            if code == _APOSTROPHE and plain:
                if before == _N and _ends_in_t(buffer, i + size, stop, kinds):
                    if i - 1 == start:
                        return _NOT, start, i + size + 1
                    return value_before, start, i - 1
                plain = False
        value_before = value
        if (code != before) | (code != before_that):
            value = (value ^ np.uint64(code)) * HASH_FACTOR
        before_that = before
        before = code
        i += size
        end = i
    # Few words are followed by one of these, so nearly always this is all there is to check.
    if end < stop and buffer[end] in (_COLON, _STOP) and _address_follows(buffer, start, end, stop):
        while end < stop and buffer[end] != 32:
            end += 1
        return _single(_ADDRESS), start, end
    return value, start, end


@njit(cache=True, nogil=True)
def lower_characters(
    buffer: NDArray[np.uint8],
    start: int,
    end: int,
    kinds: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    characters: NDArray[np.uint32],
) -> int:
    """Write the lower-case characters of the word ``buffer[start:end]``; returns how many.

    `start` and `end` come from `next_token`; of a token that is not a word, there are none.
    """
    n = 0
    at = start
    while at < end:
        code, size = _decode(buffer, at, end)
        if code in (_APOSTROPHE, _RIGHT_QUOTE) and n > 0:
            code = np.int64(_APOSTROPHE)
        elif _kind(code, kinds) != WORD:
            return 0  # an address, when it comes to its colon or stop
        elif code < TABLE_SIZE:
            code = np.int64(lower[code])
        characters[n] = code
        n += 1
        at += size
    return n


@njit(cache=True, nogil=True)
def hash_tokens(
    buffer: NDArray[np.uint8],
    stop: int,
    tokens: NDArray[np.uint64],
    kinds: NDArray[np.uint8],
    lower: NDArray[np.uint32],
) -> int:
    """Write the hashes of all tokens of ``buffer[:stop]``; returns how many there are.

    The same as to ask `next_token` again and again, in a third of the time: plain words and spaces
    go by without a branch that the processor could not foresee. Only what is special is left to
    `next_token`.
    """
    n = 0
    start = at = 0
    value = HASH_START
    before = before_that = np.uint8(_SPACE)
    while True:
        while at < stop:
            code = _STREAM[buffer[at]]
            in_word = code != _SPACE
            if (code == 0) | (in_word & (code == before) & (code == before_that)):
                break
            tokens[n] = value
            n += (not in_word) & (before != _SPACE)
            start = start if in_word else at + 1
            value = (value ^ np.uint64(code)) * HASH_FACTOR if in_word else HASH_START
            before_that = before
            before = code
            at += 1
        byte = buffer[at] if at < stop else np.uint8(_SPACE)
        in_word = before != _SPACE
        mark = (byte == _STOP) | (byte == _COMMA) | (byte == _EXCLAMATION) | (byte == _QUESTION)
        if in_word and (mark or at >= stop) and not _address_follows(buffer, start, at, stop):
            tokens[n] = value
            n += 1
            in_word = False
        if at >= stop:
            return n
        if mark and not in_word:
            tokens[n] = _single(np.int64(byte))
            n += 1
            while at < stop and buffer[at] == byte:
                at += 1
        else:
            value, begin, at = next_token(buffer, start if in_word else at, stop, kinds, lower)
            if begin < stop:
                tokens[n] = value
                n += 1
        start = at
        value = HASH_START
        before = before_that = np.uint8(_SPACE)

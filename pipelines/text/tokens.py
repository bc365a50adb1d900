"""Tokens: the one definition of what a word is, as a compiled kernel on normalised UTF-8.

A token is

- a word: letters, digits and the marks on them, in lower case, full-width letters like ASCII ones,
  a character three times or more in a row counted twice (``soooo`` is ``soo``), with the
  apostrophes inside it (``it's``);
- ``n't`` alone, or at the end of a word with no other apostrophe: the word ``not`` (``wasn't`` is
  ``was not``);
- in scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Myanmar ...), each letter or digit
  with the marks on it;
- ``!``, ``?`` and the sentence marks ``.``, ``,``, ``;``, ``:``, each run of one of them once;
  those of other scripts (``。``, ``،``) and ``…`` count as them;
- an emoticon: eyes ``: ; =``, perhaps a tear ``'`` and a nose ``- ^ o``, a mouth; or ``<3``. Tear
  and nose do not count, nor the kind of bracket of ``) ] }`` and ``( [ {``, nor the case of
  ``D P O S X``, nor which way ``/`` leans; ``|`` and ``*`` are mouths too. No letter, digit or
  ``_`` of ASCII follows ``<3`` or a letter, and no ``/`` follows a slash;
- an emoji or another pictograph, each by itself, without what follows to shape it: skin tones,
  variation selectors, joiners, tags, marks, and after a joiner the signs of the sexes;
- an address up to the next space, all alike: ``http://``, ``https://`` or ``www.`` and more;
- an ``@handle`` of ASCII letters, digits and ``_``, all handles alike.

Everything else separates. Where several begin, the first of: word or address, emoji, emoticon,
sentence mark, handle. A token is represented by a 64-bit hash of its characters.

Inside a word, characters that shape others or set the direction of writing are ignored. An
apostrophe there is any of `APOSTROPHES`, also with backslashes before it, escaped (``\\u2019``), or
garbled by a wrong decoding (``â€™``). Before the endings ``t``, ``s``, ``m``, ``d``, ``re``, ``ve``
and ``ll`` it may also be up to three of `APOSTROPHES`, or what is left of a lost one (U+FFFD, the
control codes 0x11, 0x12, 0x18 and 0x19). ``don;t`` and the like, with ``;``, ``,`` or ``?``, are
words without an apostrophe (``dont``).
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.apostrophes import BEGINS_GARBLED, apostrophe_length, is_slip, size_of_t
from pipelines.text.characters import (
    CHARACTER,
    IGNORED,
    MARK,
    PUNCTUATION,
    SYMBOL,
    WORD,
    folded_code,
    kind_at,
    kind_of,
)
from pipelines.text.utf8 import decode

TOKENS_VERSION: Final = 4
"""Counts up when this definition or that of n-grams changes: models of another one are refused."""

HASH_START: Final = np.uint64(0xCBF29CE484222325)
HASH_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
"""A hash of characters begins with the one; each is xored to it, then it is multiplied."""

# Tokens that stand for a kind of thing are hashed as one character that Unicode will never have.
ADDRESS: Final = 0x110000
HANDLE: Final = 0x110001
_EMOTICON: Final = 0x110002

_SPACE: Final = 0x20
_EXCLAMATION: Final = 0x21
_COMMA: Final = 0x2C
_STOP: Final = 0x2E
_QUESTION: Final = 0x3F
_COLON: Final = 0x3A
_APOSTROPHE: Final = 0x27
_JOINER: Final = 0x200D
_FEMALE: Final = 0x2640
_MALE: Final = 0x2642
_N: Final = 0x6E
_T: Final = 0x74


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
_NEGATED_VERBS: Final = np.array(
    [
        word_hash(verb)
        for line in (
            "do does did ca wo is was are were could would should have has had",
            "ai must need",
        )
        for verb in line.split()
    ]
)


# Nearly all characters of words, without reading the large tables: the lower case of
# an ASCII letter or digit, 0 for every other byte.
_ASCII_WORD: Final = np.array(
    [ord(chr(byte).lower()) if byte < 0x80 and chr(byte).isalnum() else 0 for byte in range(256)],
    dtype=np.uint8,
)


# What begins a token that is no word, or may stand for an apostrophe.
_SPECIAL: Final = "':;=<!?.,@`\\\x11\x12\x18\x19"

# The same with spaces for what separates words and begins no token; 0 is left for what may do
# more than that.
_STREAM: Final = np.array(
    [
        _SPACE if code == 0 and byte < 0x80 and chr(byte) not in _SPECIAL else code
        for byte, code in enumerate(_ASCII_WORD)
    ],
    dtype=np.uint8,
)


@njit(cache=True, nogil=True)
def _is_name(byte: int) -> bool:
    return 97 <= (byte | 32) <= 122 or 48 <= byte <= 57 or byte == 95


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def next_token(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
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
            code, size = decode(buffer, i, stop)
            kind = kind_of(code, kinds)
        if kind == WORD:
            return _word(buffer, i, stop, kinds, folded)
        if kind == CHARACTER:
            return _character(buffer, i, stop, kinds, folded)
        if kind == SYMBOL:
            return _single(code), i, _symbol_end(buffer, i + size, stop, kinds)
        if kind == PUNCTUATION:
            end = i + size
            while end < stop and decode(buffer, end, stop)[0] == code:
                end += size
            return _single(folded_code(code, folded)), i, end
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
            return _single(HANDLE), i, end
        i += size
    return np.uint64(0), stop, stop


@njit(cache=True, nogil=True)
def _character(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
) -> tuple[np.uint64, int, int]:
    """The token of the character at `start`, which is one with its marks."""
    code, size = decode(buffer, start, stop)
    value = _single(folded_code(code, folded))
    end = start + size
    while end < stop:
        code, size = decode(buffer, end, stop)
        kind = kind_of(code, kinds)
        if kind == MARK:
            value = (value ^ np.uint64(folded_code(code, folded))) * HASH_FACTOR
        elif kind != IGNORED:
            break
        end += size
    return value, start, end


@njit(cache=True, nogil=True)
def _symbol_end(buffer: NDArray[np.uint8], at: int, stop: int, kinds: NDArray[np.uint8]) -> int:
    """The end of the modifiers of the symbol before `at`."""
    before = np.int64(0)
    while at < stop:
        code, size = decode(buffer, at, stop)
        sex = before == _JOINER and code in (_FEMALE, _MALE)
        kind = kind_of(code, kinds)
        if not sex and kind != IGNORED and kind != MARK:
            break
        before = np.int64(code)
        at += size
    return at


@njit(cache=True, nogil=True)
def _continued(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
) -> tuple[np.int64, int]:
    """The character that continues a word at `at`: the code point it counts as, and its length.

    The code point is -1 if it does not count; the length is 0 if the word ends.
    """
    byte = buffer[at]
    if byte == _APOSTROPHE and at + 1 < stop and _ASCII_WORD[buffer[at + 1]] != 0:
        return np.int64(_APOSTROPHE), 1
    if _STREAM[byte] == _SPACE:
        return np.int64(-1), 0
    code, size = decode(buffer, at, stop)
    kind = kind_of(code, kinds)
    letter = kind in (WORD, MARK)
    if not letter or BEGINS_GARBLED[buffer[at]]:
        length = apostrophe_length(buffer, at, stop, kinds)
        if length > 0:
            return np.int64(_APOSTROPHE), length
    if letter:
        return folded_code(code, folded), size
    return np.int64(-1), size if kind == IGNORED else 0


@njit(cache=True, nogil=True)
def _word(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
) -> tuple[np.uint64, int, int]:
    value = HASH_START
    value_before = HASH_START
    plain = True
    i = start
    last = start
    before = np.int64(-1)
    before_that = np.int64(-2)
    while i < stop:
        code = np.int64(_ASCII_WORD[buffer[i]])
        size = 1
        if code == 0:
            if buffer[i] == _SPACE:
                break
            if i == start:
                code, size = decode(buffer, i, stop)
                code = folded_code(code, folded)
            else:
                code, size = _continued(buffer, i, stop, kinds, folded)
            if before == _N and plain and (code == _APOSTROPHE or size == 0):
                t = size_of_t(buffer, i + max(size, 1), stop, kinds, folded)
                if code == _APOSTROPHE and t > 0:
                    if last == start:
                        return _NOT, start, i + size + t
                    return value_before, start, last
                if size == 0 and t > 0 and is_slip(buffer[i]) and value_before in _NEGATED_VERBS:
                    code, size = np.int64(-1), 1
            if size == 0:
                break
            plain &= code != _APOSTROPHE
            if code < 0:
                i += size
                continue
        value_before = value
        if (code != before) | (code != before_that):
            value = (value ^ np.uint64(code)) * HASH_FACTOR
        before_that = before
        before = code
        last = i
        i += size
    # Few words are followed by one of these, so nearly always this is all there is to check.
    if i < stop and buffer[i] in (_COLON, _STOP) and _address_follows(buffer, start, i, stop):
        while i < stop and buffer[i] != 32:
            i += 1
        return _single(ADDRESS), start, i
    return value, start, i


@njit(cache=True, nogil=True)
def lower_characters(
    buffer: NDArray[np.uint8],
    start: int,
    end: int,
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
    characters: NDArray[np.uint32],
) -> int:
    """Write the lower-case characters of the word ``buffer[start:end]``; returns how many.

    `start` and `end` come from `next_token`; of a token that is not a word, there are none.
    """
    kind = kind_at(buffer, start, end, kinds)
    if kind != WORD and kind != CHARACTER:
        return 0
    code, size = decode(buffer, start, end)
    characters[0] = folded_code(code, folded)
    n = 1
    at = start + size
    while at < end:
        code, size = _continued(buffer, at, end, kinds, folded)
        if size == 0:
            if not is_slip(buffer[at]):
                return 0  # an address, when it comes to its colon or stop
            size = 1
        elif code >= 0:
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
    folded: NDArray[np.uint32],
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
        if in_word and byte == _APOSTROPHE and at + 1 < stop:
            following = _ASCII_WORD[buffer[at + 1]]
            if following != 0 and (following != _T or before != _N):
                value = (value ^ np.uint64(_APOSTROPHE)) * HASH_FACTOR
                before_that = before
                before = byte
                at += 1
                continue
        mark = (byte == _STOP) | (byte == _COMMA) | (byte == _EXCLAMATION) | (byte == _QUESTION)
        if in_word and (mark or at >= stop) and not _address_follows(buffer, start, at, stop):
            slip = before == _N and at < stop and is_slip(byte)
            if not slip or size_of_t(buffer, at + 1, stop, kinds, folded) == 0:
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
            value, begin, at = next_token(buffer, start if in_word else at, stop, kinds, folded)
            if begin < stop:
                tokens[n] = value
                n += 1
        start = at
        value = HASH_START
        before = before_that = np.uint8(_SPACE)

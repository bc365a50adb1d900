"""A JSON list of texts, decoded piece by piece.

Decoding tens of megabytes in one call takes tens of milliseconds, in which no other thread of the
process runs, such as the event loop of a server.
"""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.errors import InputError

PIECE: Final = 1 << 16
"""Bytes of a piece, unless one text is longer."""

_QUOTE, _BACKSLASH, _COMMA = b'"\\,'
_LIST, _OBJECT, _LIST_END, _OBJECT_END = b"[{]}"
_BEGINS: Final = re.compile(rb"\s*\[")
_INDEX: Final = re.compile(r" - at `\$\[(\d+)\]`")

_decoder = msgspec.json.Decoder(list[str])


def decode_texts(encoded: bytes, most: int) -> list[str]:
    """The texts of a JSON list.

    Parameters
    ----------
    encoded : bytes
        In UTF-8.
    most : int
        Soon after so many texts, the rest is left out.

    Raises
    ------
    InputError
        If it is no JSON list of strings.
    """
    if not _BEGINS.match(encoded):
        raise InputError("The body is no JSON list of texts.")
    cuts = find_cuts(np.frombuffer(encoded, dtype=np.uint8), PIECE).tolist()
    texts: list[str] = []
    for before, after in pairwise([None, *cuts, None]):
        head = b"" if before is None else b"["
        tail = b"" if after is None else b"]"
        start = 0 if before is None else before + 1
        texts += _decode(head + encoded[start:after] + tail, start, len(texts), bool(cuts))
        if len(texts) > most:
            break
    return texts


def _decode(piece: bytes, start: int, before: int, is_part: bool) -> list[str]:
    try:
        texts = _decoder.decode(piece)
    except msgspec.ValidationError as error:
        message = str(error)
        if found := _INDEX.search(message):
            message = message.replace(found[0], "")
            raise InputError(
                f"Item {before + int(found[1]):,} of the body (counted from 0): "
                f"{message[:1].lower()}{message[1:]}"
            ) from None
        raise InputError(f"The body: {message[:1].lower()}{message[1:]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"The body is not valid JSON: {error}, in the part that begins at byte {start:,}."
        ) from None
    if is_part and not texts:  # a comma without a text before or behind it
        raise InputError(f"The body is not valid JSON: no text at byte {start:,}.")
    return texts


@njit(cache=True, nogil=True)
def find_cuts(data: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Where commas stand between the items of a JSON list, at least `size` bytes apart."""
    cuts = np.empty(data.size // size + 1, dtype=np.int64)
    n = depth = last = i = 0
    inside = False
    while i < data.size:
        byte = data[i]
        if inside:
            if byte == _BACKSLASH:
                i += 1
            elif byte == _QUOTE:
                inside = False
        elif byte == _QUOTE:
            inside = True
        elif byte == _COMMA:
            if depth == 1 and i - last >= size:
                cuts[n] = i
                n += 1
                last = i
        elif byte in (_LIST, _OBJECT):
            depth += 1
        elif byte in (_LIST_END, _OBJECT_END):
            depth -= 1
        i += 1
    return cuts[:n]

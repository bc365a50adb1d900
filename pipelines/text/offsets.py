"""Offsets of tokens and normalised characters in the original text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.text.characters import character_tables
from pipelines.text.composing import GROWTH
from pipelines.text.normalise import normalise_bytes
from pipelines.text.tokens import next_token


class LocatedTokens(NamedTuple):
    """The n tokens of a text; token i is ``text[starts[i]:ends[i]]``.

    Attributes
    ----------
    hashes : uint64 array, shape (n,)
        As `pipelines.text.tokens.next_token` gives them.
    starts, ends : int64 arrays, shape (n,)
        Indices into the string; tokens stand in order and do not overlap.
    normalised : uint8 array
        The text as it is scored, in UTF-8.
    """

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    normalised: NDArray[np.uint8]


class LocatedText(NamedTuple):
    """A normalised text of n characters; character i stands for ``original[starts[i]:ends[i]]``.

    Attributes
    ----------
    text : str
        Lone surrogates are still in it.
    starts, ends : int64 arrays, shape (n,)
        Indices into the original string.
    """

    text: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def locate_tokens(text: str) -> LocatedTokens:
    """Tokenise `text` as for scoring, and remember where the tokens stand in it."""
    data = _encoded(text)
    return LocatedTokens(*_locate(data, *character_tables()))


def normalise_located(text: str) -> LocatedText:
    """Normalise `text` as for scoring, and remember what each character stands for."""
    data = _encoded(text)
    normalised, first, last = _normalise(data)
    leads = np.flatnonzero(normalised & 0xC0 != 0x80)
    starts = first[leads]
    ends = last[np.append(leads[1:], normalised.size) - 1] if leads.size else starts.copy()
    _count_characters(data, starts)
    _count_characters(data, ends)
    return LocatedText(normalised.tobytes().decode("utf-8", "surrogatepass"), starts, ends)


def _encoded(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


@njit(cache=True, nogil=True)
def _normalise(
    data: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Normalised copy of `data`, and the bytes of `data` that each byte stands for."""
    text = np.empty(GROWTH * data.size, dtype=np.uint8)
    text[: data.size] = data
    first = np.arange(text.size)
    last = first + 1
    size = normalise_bytes(text, data.size, first, last)
    return text[:size], first[:size], last[:size]


@njit(cache=True, nogil=True)
def _locate(
    data: NDArray[np.uint8], kinds: NDArray[np.uint8], folded: NDArray[np.uint32]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """The fields of `LocatedTokens` for the text in `data`."""
    text, first, last = _normalise(data)
    size = text.size
    hashes = np.empty(size, dtype=np.uint64)
    starts = np.empty(size, dtype=np.int64)
    ends = np.empty(size, dtype=np.int64)
    n = 0
    at = 0
    while at < size:
        value, begin, at = next_token(text, at, size, kinds, folded)
        if begin < size:
            hashes[n] = value
            starts[n] = first[begin]
            ends[n] = last[at - 1]
            n += 1
    starts = starts[:n].copy()
    ends = ends[:n].copy()
    _count_characters(data, starts)
    _count_characters(data, ends)
    return hashes[:n].copy(), starts, ends, text


@njit(cache=True, nogil=True)
def _count_characters(data: NDArray[np.uint8], positions: NDArray[np.int64]) -> None:
    """Replace ascending positions in UTF-8 by the number of characters before them."""
    at = 0
    characters = 0
    for i in range(positions.size):
        while at < positions[i]:
            characters += data[at] & 0xC0 != 0x80
            at += 1
        positions[i] = characters

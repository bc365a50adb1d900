"""Runs the byte kernels over nasty byte strings; to be run with NUMBA_BOUNDSCHECK=1.

Each string stands in an array of exactly its size, so that a read outside of it raises IndexError,
and then among others in one array, so that a read of a neighbour's bytes changes the result.
"""

from __future__ import annotations

import itertools
import random

import numpy as np
from numba import njit

from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.text.buffers import TextBuffer
from pipelines.text.composing import GROWTH
from pipelines.text.ngrams import count_ngrams
from pipelines.text.normalise import normalise_bytes
from tests.unit.text.strategies import FRAGMENTS, ODD, SPACES

_ALPHABET = [bytes([code]) for code in [*b"\x00 '&/;:<>@Aahtw!#3.", *range(0x80, 0x100, 13)]]
_LEADS = [bytes([code]) for code in [0xC2, 0xE1, 0xE2, 0xE3, 0xCC, 0xE0, 0xED, 0xEF, 0xF0, 0xF4]]
_WORDS = [word.encode("utf-8", "surrogatepass") for word in [*FRAGMENTS, *SPACES, *ODD]]


def nasty_strings() -> list[bytes]:
    pieces = [*_ALPHABET, *_LEADS]
    short = [b"".join(pair) for pair in itertools.product(pieces, repeat=2)]
    prefixes = [word[:end] for word in _WORDS for end in range(len(word) + 1)]
    draw = random.Random(0)
    long = [b"".join(draw.choices(pieces + _WORDS, k=draw.randrange(2, 12))) for _ in range(3000)]
    return [*short, *prefixes, *long]


def alone(string: bytes) -> TextBuffer:
    data = np.frombuffer(string, dtype=np.uint8)
    offsets = np.array([0, len(string)])
    offsets.flags.writeable = False
    return data, offsets


def together(strings: list[bytes]) -> TextBuffer:
    data = np.frombuffer(b"".join(strings), dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(string) for string in strings])])
    offsets.flags.writeable = False
    return data, offsets


@njit
def _beyond(array: np.ndarray) -> int:  # type: ignore[type-arg]
    return int(array[array.size])


def main() -> None:
    try:
        _beyond(np.zeros(1, dtype=np.uint8))
    except IndexError:
        pass
    else:
        raise SystemExit("bounds are not checked")

    strings = nasty_strings()
    scorer = random_scorer()
    margins = np.empty(len(strings))
    words = np.zeros((len(strings), 2), dtype=np.int64)
    scorer._score(together(strings), 0, len(strings), margins, words)
    buckets, counts, offsets = count_ngrams(together(strings), 3, 20, 6)
    for row, string in enumerate(strings):
        found = count_ngrams(alone(string), 3, 20, 6)
        entries = slice(offsets[row], offsets[row + 1])
        assert (found[0] == buckets[entries]).all(), string
        assert (found[1] == counts[entries]).all(), string
        margin = np.empty(1)
        of_one = np.zeros((1, 2), dtype=np.int64)
        scorer._score(alone(string), 0, 1, margin, of_one)
        assert margin[0] == margins[row], string
        assert (of_one[0] == words[row]).all(), string
        assert np.isfinite(margin[0]), string
        normalise_tracked(string)
    print(len(strings), "strings")


def random_scorer() -> LinearScorer:
    info = TableInfo(
        ngram_max=3, char_max=5, bits=16, terms="log_count", bias=0.5, slope=1.0, offset=0.0
    )
    tables = np.random.default_rng(0).normal(size=(2, 2**16)).astype(np.float32)
    tables.flags.writeable = False
    return LinearScorer(info, tables[0], tables[1])


def normalise_tracked(string: bytes) -> None:
    buffer = np.zeros(GROWTH * len(string), dtype=np.uint8)
    buffer[: len(string)] = list(string)
    first = np.arange(buffer.size)
    last = first + 1
    length = normalise_bytes(buffer, len(string), first, last)
    assert 0 <= length <= buffer.size
    again = buffer.copy()
    nothing = np.empty(0, dtype=np.int64)
    assert normalise_bytes(again, length, nothing, nothing) == length, string
    assert (again[:length] == buffer[:length]).all(), string


if __name__ == "__main__":
    main()

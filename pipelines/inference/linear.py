"""The fused scorer: UTF-8 bytes -> margin in one compiled pass, over one weight table.

The table is a safetensors file that is mapped into memory, so that the workers of a server share
its pages.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.errors import CorruptModelError
from pipelines.inference.contributions import Contributions, fold_contributions
from pipelines.inference.explaining import explain_linear
from pipelines.inference.explanation import Explanation
from pipelines.inference.terms import TERMS, term_value
from pipelines.inference.verdicts import NEGATIVE, POSITIVE, labels_of
from pipelines.text.buffers import TextBuffer, text_buffer
from pipelines.text.characters import character_tables
from pipelines.text.ngrams import (
    cleared_table,
    fold_ngrams,
    fold_spellings,
    most_entries,
    tokenise,
)
from pipelines.text.offsets import LocatedTokens
from pipelines.text.spellings import CHAR_MAX, hash_spellings
from pipelines.text.tokens import TOKENS_VERSION, check_version

TABLE_FILE: Final = "scorer.safetensors"
"""What the table is called in an entry of the model cache."""

_NO_NORMS: Final = np.frombuffer(b"", dtype=np.float32)
_METADATA_KEY: Final = "opinionlens"

_TEXTS_PER_TASK: Final = 64
_OFFSETS: Final = struct.Struct("=qq").pack


class TableInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the scorer needs besides the tables.

    Attributes
    ----------
    terms : str
        What an n-gram that occurs c times counts: ``presence`` 1, ``count`` c, ``log_count``
        1 + log c.
    bias : float
        Added to the scaled sum of the weights: the margin's intercept.
    slope, offset : float
        The probability is ``1 / (1 + exp(-(slope * margin + offset)))`` (Platt 1999).
    format : int
        The version of the definition of tokens that the weights are for.
    """

    ngram_max: Annotated[int, msgspec.Meta(ge=1, le=16)]
    char_max: Annotated[int, msgspec.Meta(ge=0, le=CHAR_MAX[-1])] = 0
    bits: Annotated[int, msgspec.Meta(ge=1, le=30)]
    terms: Literal["presence", "count", "log_count"]
    bias: float
    slope: float
    offset: float
    format: int = TOKENS_VERSION

    def __post_init__(self) -> None:
        check_version(self.format)


class LinearScorer:
    """A linear model as one table.

    Parameters
    ----------
    weights : float32 array, shape (2 ** bits,)
        Weight of each bucket, 0 for the ones that training has not seen.
    norms : float32 array, shape (2 ** bits,) or (0,)
        What each bucket's term is multiplied with before a text's length is taken; empty: 1.
    """

    kind = "linear"

    def __init__(
        self, info: TableInfo, weights: NDArray[np.float32], norms: NDArray[np.float32] = _NO_NORMS
    ) -> None:
        self.info = info
        self.weights = weights
        self.norms = norms
        tables = character_tables()
        self._arguments = (
            info.ngram_max,
            info.char_max,
            info.bits,
            TERMS[info.terms],
            info.bias,
            tables.kinds,
            tables.lower,
            weights,
            norms,
        )

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the table in `path` into memory.

        Raises
        ------
        CorruptModelError
            If it is not one of our tables.
        """
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            size = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + size])
            info = msgspec.json.decode(header["__metadata__"][_METADATA_KEY], type=TableInfo)
            weights = _tensor(data, 8 + size, header["weights"], 2**info.bits)
            norms = _NO_NORMS
            if "norms" in header:
                norms = _tensor(data, 8 + size, header["norms"], 2**info.bits)
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise CorruptModelError(f"{path} is not a weight table: {error}") from error
        return cls(info, weights, norms)

    def save(self, path: Path) -> None:
        """Write the table as safetensors."""
        from safetensors.numpy import save_file

        tensors = {"weights": np.ascontiguousarray(self.weights)}
        if self.norms.size:
            tensors["norms"] = np.ascontiguousarray(self.norms)
        save_file(tensors, path, {_METADATA_KEY: msgspec.json.encode(self.info).decode()})

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """See `Scorer.predict`."""
        if isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str):
            return self._predict_one(texts[0])
        probabilities = self.probabilities(self.margins(texts))
        return labels_of(probabilities), probabilities

    def _predict_one(self, text: str) -> tuple[list[str], NDArray[np.float64]]:
        """The same, to the last bit, without what many texts need: it takes half the time."""
        data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        # As in `text_buffer`, arrays that cannot be written to.
        offsets = np.frombuffer(_OFFSETS(0, data.size), dtype=np.int64)
        margins = np.empty(1)
        _margins(data, offsets, 0, 1, *self._arguments, margins)
        z = self.info.slope * float(margins[0]) + self.info.offset
        small = float(np.exp(-abs(z)))
        probability = (1.0 if z >= 0 else small) / (1.0 + small)
        return [POSITIVE if probability > 0.5 else NEGATIVE], np.array([probability])

    def margins(self, texts: object, threads: int | None = None) -> NDArray[np.float64]:
        """Margins of n texts in any container that `text_buffer` takes, shape (n,)."""
        buffer = text_buffer(texts)
        n = buffer[1].size - 1
        margins = np.empty(n)
        if n <= _TEXTS_PER_TASK:
            self._score(buffer, 0, n, margins)
            return margins
        starts = range(0, n, _TEXTS_PER_TASK)
        pool = _pool(threads or os.cpu_count() or 1)
        tasks = [
            pool.submit(self._score, buffer, start, min(n, start + _TEXTS_PER_TASK), margins)
            for start in starts
        ]
        for task in tasks:
            task.result()
        return margins

    @property
    def bias(self) -> float:
        """The margin of a text without tokens."""
        return self.info.bias

    @property
    def threshold(self) -> float | None:
        """The margin at which the probability is one half; None if there is no such margin."""
        return -self.info.offset / self.info.slope if self.info.slope else None

    def explain(self, text: str) -> Explanation:
        """See `Scorer.explain`."""
        return explain_linear(self, text)

    def contributions(self, tokens: LocatedTokens) -> Contributions:
        """What each of the tokens of a text adds to its margin."""
        info = self.info
        parts = fold_contributions(
            tokens.hashes,
            tokens.normalised,
            *character_tables(),
            info.ngram_max,
            info.char_max,
            info.bits,
            TERMS[info.terms],
            info.bias,
            self.weights,
            self.norms,
        )
        return Contributions(*parts)

    def probabilities(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities of `POSITIVE`, shape (n,)."""
        z = self.info.slope * margins + self.info.offset
        # Either branch of the logistic function whose exponential cannot overflow.
        small = np.exp(-np.abs(z))
        return np.where(z >= 0, 1.0, small) / (1.0 + small)

    def _score(
        self, buffer: TextBuffer, first: int, last: int, margins: NDArray[np.float64]
    ) -> None:
        _margins(*buffer, first, last, *self._arguments, margins)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scorer")


def _tensor(data: mmap.mmap, base: int, entry: dict[str, object], size: int) -> NDArray[np.float32]:
    begin, end = msgspec.convert(entry["data_offsets"], tuple[int, int])
    if entry["dtype"] != "F32" or entry["shape"] != [size] or end - begin != 4 * size:
        raise ValueError(f"unexpected tensor {entry}")
    if begin < 0 or (base + begin) % 4:
        raise ValueError(f"tensor at {base + begin}")
    return np.frombuffer(data, dtype=np.float32, count=size, offset=base + begin)


@njit(cache=True, nogil=True)
def _margins(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    ngram_max: int,
    char_max: int,
    bits: int,
    terms: int,
    bias: float,
    kinds: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    weights: NDArray[np.float32],
    norms: NDArray[np.float32],
    margins: NDArray[np.float64],
) -> None:
    """Write the margins of the texts `first` to `last`; weights and norms as in `LinearScorer`."""
    longest = 0
    for row in range(first, last):
        longest = max(longest, offsets[row + 1] - offsets[row])
    text = np.empty(longest, dtype=np.uint8)
    tokens = np.empty(longest + 1, dtype=np.uint64)
    table = np.empty(1024, dtype=np.int32)
    buckets = np.empty(0, dtype=np.int32)
    counts = np.empty(0, dtype=np.float32)
    for row in range(first, last):
        n, size = tokenise(data, offsets[row], offsets[row + 1], text, tokens, kinds, lower)
        entries = most_entries(n, size, ngram_max, char_max)
        if entries > buckets.size:
            buckets = np.empty(2 * entries, dtype=np.int32)
            counts = np.empty(2 * entries, dtype=np.float32)
        table = cleared_table(table, entries)
        used = fold_ngrams(tokens, n, ngram_max, bits, table, buckets, counts)
        if char_max > 0:
            hashes, _ = hash_spellings(text, size, n, char_max, kinds, lower)
            used = fold_spellings(hashes, bits, table, buckets, counts, used)
        total = 0.0
        square = 0.0
        for entry in range(used):
            value = term_value(counts[entry], terms)
            total += value * np.float64(weights[buckets[entry]])
            if norms.size > 0:
                value *= np.float64(norms[buckets[entry]])
            square += value * value
        margins[row] = bias
        if square > 0:
            margins[row] += total / np.sqrt(square)

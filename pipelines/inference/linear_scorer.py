"""The fused scorer: UTF-8 bytes -> margin in one compiled pass, over one weight table.

The table is a safetensors file that is mapped into memory, so that the workers of a server share
its pages.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.config.params import Language
from pipelines.errors import CorruptModelError, InputError
from pipelines.inference.class_explaining import explain_classes
from pipelines.inference.contributions import Contributions, fold_contributions
from pipelines.inference.evidence import (
    JudgedColumns,
    Judgement,
    count_words,
    judge_with,
    judged_columns,
    known_weight,
)
from pipelines.inference.explaining import explain_linear
from pipelines.inference.explanation import Explanation, Poles
from pipelines.inference.tensors import METADATA_KEY, Tensors
from pipelines.inference.terms import TERMS, term_value
from pipelines.labels import BINARY, Classes, check_names, label_of
from pipelines.text.buffers import TextBuffer, text_buffer
from pipelines.text.character_ngrams import CHAR_MAX
from pipelines.text.characters import character_tables
from pipelines.text.languages import NUMBERS
from pipelines.text.ngrams import cleared_table, fold_terms, most_entries, room_for, tokenise
from pipelines.text.offsets import LocatedTokens
from pipelines.text.tokens import TOKENS_VERSION, check_version

TABLE_FILE: Final = "scorer.safetensors"
"""What the table is called in an entry of the model cache."""

_NO_NORMS: Final = np.frombuffer(b"", dtype=np.float32)
_NO_WORDS: Final = np.empty((0, 2), dtype=np.int64)

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
    language : str, optional
        Whose rules are used; see `pipelines.text.languages`. By default, English.
    classes : Classes, optional
        By default `BINARY`.
    biases : tuple of n_classes floats, optional
        Of more than two classes, in place of `bias`. Their margins are logits already: the
        probabilities are their softmax, and `slope` and `offset` are 1 and 0.
    """

    ngram_max: Annotated[int, msgspec.Meta(ge=1, le=16)]
    char_max: Annotated[int, msgspec.Meta(ge=0, le=CHAR_MAX[-1])] = 0
    bits: Annotated[int, msgspec.Meta(ge=1, le=30)]
    terms: Literal["presence", "count", "log_count"]
    bias: float
    slope: float
    offset: float
    format: int = TOKENS_VERSION
    language: Language | msgspec.UnsetType = msgspec.UNSET
    classes: Classes | msgspec.UnsetType = msgspec.UNSET
    biases: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        check_version(self.format)
        if self.classes is msgspec.UNSET:
            return
        try:
            check_names(self.classes.names)
        except InputError as error:
            raise ValueError(str(error)) from None
        if not self.classes.two and len(self.biases or ()) != len(self.classes.names):
            raise ValueError("not every class has a bias")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weights: those of several classes stand side by side."""
        if self.classes is msgspec.UNSET or self.classes.two:
            return (2**self.bits,)
        return 2**self.bits, len(self.classes.names)


class LinearScorer:
    """A linear model as one table.

    Parameters
    ----------
    weights : float32 array, shape (2 ** bits,) or (2 ** bits, n_classes)
        Weight of each bucket, 0 for the ones that training has not seen; of more than two
        classes, the weights for each.
    norms : float32 array, shape (2 ** bits,) or (0,)
        What each bucket's term is multiplied with before a text's length is taken; empty: 1.
    """

    kind = "linear"

    def __init__(
        self, info: TableInfo, weights: NDArray[np.float32], norms: NDArray[np.float32] = _NO_NORMS
    ) -> None:
        self.info = info
        self.classes = info.classes or BINARY
        self.language: Language = info.language or "en"
        self.weights = weights
        self.norms = norms
        self._two = self.classes.two
        self._one = (1, *weights.shape[1:])  # the shape of one text's margins
        self._judgement = judge_with(self.classes)
        tables = character_tables()
        self._arguments = (
            info.ngram_max,
            info.char_max,
            info.bits,
            NUMBERS[self.language],
            TERMS[info.terms],
            info.bias if self.classes.two else np.array(info.biases),
            tables.kinds,
            tables.folded,
            weights,
            norms,
            known_weight(weights),
        )

    def __reduce__(self) -> tuple[type[LinearScorer], tuple[object, ...]]:
        # For Ray, which keeps the arrays of an object in memory that all processes share.
        return type(self), (self.info, self.weights, self.norms)

    @classmethod
    def open(cls, path: Path, *, mapped: bool = True) -> Self:
        """Map the table in `path` into memory, or read it.

        Raises
        ------
        CorruptModelError
            If it is not one of our tables.
        """
        try:
            tensors = Tensors(_map(path) if mapped else path.read_bytes())
            info = msgspec.json.decode(tensors.facts, type=TableInfo)
            weights = tensors.get("weights", np.float32, math.prod(info.shape)).reshape(info.shape)
            norms = _NO_NORMS
            if "norms" in tensors:
                norms = tensors.get("norms", np.float32, 2**info.bits)
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise CorruptModelError(f"{path} is not a weight table: {error}") from error
        return cls(info, weights, norms)

    def save(self, path: Path) -> None:
        """Write the table as safetensors."""
        from safetensors.numpy import save_file

        tensors = {"weights": np.ascontiguousarray(self.weights).ravel()}
        if self.norms.size:
            tensors["norms"] = np.ascontiguousarray(self.norms)
        save_file(tensors, path, {METADATA_KEY: msgspec.json.encode(self.info).decode()})

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """See `Scorer.predict`."""
        if isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str):
            probability = self._score_one(texts[0], _NO_WORDS)
            if self._two:
                return [label_of(probability, self.classes.names)], np.array([probability])
            probabilities = np.array([probability])
        else:
            probabilities = self.probabilities(self.margins(texts))
        return self.classes.answers(probabilities), probabilities

    def judge(self, texts: Sequence[str]) -> list[Judgement]:
        """See `Scorer.judge`."""
        if isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str):
            words = np.empty((1, 2), dtype=np.int64)
            return [self._judgement(self._score_one(texts[0], words), *words[0].tolist())]
        buffer = text_buffer(texts)
        words = np.empty((buffer[1].size - 1, 2), dtype=np.int64)
        found = self.probabilities(self._margins_of(buffer, words)).tolist()
        return list(starmap(self._judgement, zip(found, *words.T.tolist(), strict=True)))

    def judge_columns(self, texts: object) -> JudgedColumns:
        """The same of n texts in any container that `text_buffer` takes, as columns."""
        buffer = text_buffer(texts)
        words = np.empty((buffer[1].size - 1, 2), dtype=np.int64)
        return judged_columns(
            self.probabilities(self._margins_of(buffer, words)), words, self.classes
        )

    def _score_one(self, text: str, words: NDArray[np.int64]) -> Any:
        """The probability of one text, without what many texts need: it takes half the time.

        The same to the last bit; of more than two classes, a list. `words` is as in `_margins`.
        """
        data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        # As in `text_buffer`, arrays that cannot be written to.
        offsets = np.frombuffer(_OFFSETS(0, data.size), dtype=np.int64)
        margins = np.empty(self._one)
        _margins(data, offsets, 0, 1, *self._arguments, margins, words)
        if not self._two:
            return self.probabilities(margins)[0].tolist()
        z = self.info.slope * float(margins[0]) + self.info.offset
        small = float(np.exp(-abs(z)))
        return (1.0 if z >= 0 else small) / (1.0 + small)

    def margins(self, texts: object, threads: int | None = None) -> NDArray[np.float64]:
        """Margins of n texts in any container that `text_buffer` takes.

        Of shape (n,), or (n, n_classes) with more than two classes.
        """
        return self._margins_of(text_buffer(texts), _NO_WORDS, threads)

    def _margins_of(
        self, buffer: TextBuffer, words: NDArray[np.int64], threads: int | None = None
    ) -> NDArray[np.float64]:
        """Margins of n texts; `words` is as in `_margins`."""
        n = buffer[1].size - 1
        margins = np.empty((n, *self.weights.shape[1:]))
        if n <= _TEXTS_PER_TASK:
            self._score(buffer, 0, n, margins, words)
            return margins
        starts = range(0, n, _TEXTS_PER_TASK)
        pool = _pool(threads or os.cpu_count() or 1)
        tasks = [
            pool.submit(self._score, buffer, start, min(n, start + _TEXTS_PER_TASK), margins, words)
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
    def slope(self) -> float:
        """What the log odds of `POSITIVE` change by with the margin."""
        return self.info.slope

    @property
    def threshold(self) -> float | None:
        """The margin at which the probability is one half; None if there is no such margin."""
        if not self.info.slope:
            return None
        found = -self.info.offset / self.info.slope
        return found if math.isfinite(found) else None

    @property
    def poles(self) -> Poles:
        """The two classes; what adds to the margin speaks for the second one."""
        return Poles(0, 1)

    def explain(self, text: str) -> Explanation:
        """See `Scorer.explain`."""
        return explain_linear(self, text) if self.classes.two else explain_classes(self, text)

    def contributions(self, tokens: LocatedTokens) -> Contributions:
        """What each of the tokens of a text adds to its margin."""
        return self._contributions(tokens, self.info.bias, self.weights)

    def class_contributions(self, tokens: LocatedTokens) -> list[Contributions]:
        """The same for the margin of each of more than two classes."""
        return [
            self._contributions(tokens, bias, self.weights[:, number])
            for number, bias in enumerate(self.info.biases or ())
        ]

    def _contributions(
        self, tokens: LocatedTokens, bias: float, weights: NDArray[np.float32]
    ) -> Contributions:
        info = self.info
        parts = fold_contributions(
            tokens.hashes,
            tokens.normalised,
            *character_tables(),
            info.ngram_max,
            info.char_max,
            info.bits,
            NUMBERS[self.language],
            TERMS[info.terms],
            bias,
            weights,
            self.norms,
        )
        return Contributions(*parts)

    def probabilities(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities, as in `pipelines.labels`, of margins."""
        if margins.ndim == 2:
            each: NDArray[np.float64] = softmax(margins)
            return each
        z = self.info.slope * margins + self.info.offset
        # Either branch of the logistic function whose exponential cannot overflow.
        small = np.exp(-np.abs(z))
        return np.where(z >= 0, 1.0, small) / (1.0 + small)

    def _score(
        self,
        buffer: TextBuffer,
        first: int,
        last: int,
        margins: NDArray[np.float64],
        words: NDArray[np.int64],
    ) -> None:
        _margins(*buffer, first, last, *self._arguments, margins, words)


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scorer")


@njit(cache=True, nogil=True)
def _margins(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    ngram_max: int,
    char_max: int,
    bits: int,
    language: int,
    terms: int,
    bias: float | NDArray[np.float64],
    kinds: NDArray[np.uint8],
    folded: NDArray[np.uint32],
    weights: NDArray[np.float32],
    norms: NDArray[np.float32],
    least: float,
    margins: NDArray[np.float64],
    words: NDArray[np.int64],
) -> None:
    """Write the margins of the texts `first` to `last`; weights and norms as in `LinearScorer`.

    `margins` and `bias` have a column for each class if the weights have. Which it is, is known
    when this is compiled.

    Unless `words` is empty, its rows become how many words the texts have, and how many of them
    are known, by the weight `least`.
    """
    text, tokens = room_for(offsets, first, last)
    table = np.empty(1024, dtype=np.int32)
    buckets = np.empty(0, dtype=np.int32)
    counts = np.empty(0, dtype=np.float32)
    for row in range(first, last):
        n, size = tokenise(data, offsets[row], offsets[row + 1], text, tokens, kinds, folded)
        entries = most_entries(n, size, ngram_max, char_max)
        if entries > buckets.size:
            buckets = np.empty(2 * entries, dtype=np.int32)
            counts = np.empty(2 * entries, dtype=np.float32)
        table = cleared_table(table, entries)
        used = fold_terms(
            text, size, tokens, n, ngram_max, char_max, bits, language, kinds, folded,
            table, buckets, counts,
        )  # fmt: skip
        if weights.ndim == 1:
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
        else:
            _add_classes(buckets, counts, used, terms, bias, weights, norms, margins[row])
        if words.size > 0:
            found, known = count_words(text, size, tokens, n, bits, weights, least)
            words[row, 0] = found
            words[row, 1] = known


@njit(cache=True, nogil=True)
def _add_classes(
    buckets: NDArray[np.int32],
    counts: NDArray[np.float32],
    used: int,
    terms: int,
    biases: NDArray[np.float64],
    weights: NDArray[np.float32],
    norms: NDArray[np.float32],
    margins: NDArray[np.float64],
) -> None:
    """Write a text's margin for each class; one look at a bucket serves all of them."""
    square = 0.0
    margins[:] = 0.0
    first = second = third = 0.0
    for entry in range(used):
        value = term_value(counts[entry], terms)
        bucket = buckets[entry]
        # Three, the commonest number, stay in registers.
        if margins.size == 3:
            first += value * np.float64(weights[bucket, 0])
            second += value * np.float64(weights[bucket, 1])
            third += value * np.float64(weights[bucket, 2])
        else:
            for column in range(margins.size):
                margins[column] += value * np.float64(weights[bucket, column])
        if norms.size > 0:
            value *= np.float64(norms[bucket])
        square += value * value
    if margins.size == 3:
        margins[0], margins[1], margins[2] = first, second, third
    length = np.sqrt(square) if square > 0 else 1.0
    for column in range(margins.size):
        margins[column] = biases[column] + margins[column] / length


@njit(cache=True, nogil=True)
def softmax(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of each class, shape (n, n_classes), of logits of that shape."""
    found = np.empty_like(margins)
    for row in range(margins.shape[0]):
        highest = margins[row].max()
        total = 0.0
        for column in range(margins.shape[1]):
            found[row, column] = np.exp(margins[row, column] - highest)
            total += found[row, column]
        for column in range(margins.shape[1]):
            found[row, column] /= total
    return found

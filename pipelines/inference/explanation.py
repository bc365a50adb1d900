"""An explanation: the parts of an answer, by words, phrases and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.inference.evidence import Evidence
from pipelines.labels import BINARY, Classes


class Word(msgspec.Struct, frozen=True, gc=False):
    """A token of the text: a word, punctuation, an emoticon, an emoji.

    Attributes
    ----------
    start, end : int
        It is ``text[start:end]`` of the string that was explained, in characters (code points).
    text : str
        Those characters; lone surrogates, which JSON cannot carry, are U+FFFD.
    contribution : float
        Above 0 it speaks for `POSITIVE`, below 0 for `NEGATIVE`, or for `PerClass.high` and
        `PerClass.low`; in units of `Explanation.unit`. Everything about n-grams is folded onto
        their words.
    strength : int
        The same as a shade, -3 to 3, on the same scale for all texts and models.
    """

    start: int
    end: int
    text: str
    contribution: float
    strength: int


class Phrase(msgspec.Struct, frozen=True, gc=False):
    """An n-gram of two words or more, and what it contributes by itself.

    Its contribution is part of those of its words, not added to them. Fields as in `Word`.
    """

    start: int
    end: int
    text: str
    contribution: float


class Term(msgspec.Struct, frozen=True, gc=False):
    """All occurrences of one word, whatever their case.

    Attributes
    ----------
    text : str
        As it stands in its first occurrence.
    count : int
    contribution : float
        Sum over the occurrences.
    """

    text: str
    count: int
    contribution: float


class Sentence(msgspec.Struct, frozen=True, gc=False):
    """A sentence: the model's answer to it alone, and its share in the answer to the whole.

    Attributes
    ----------
    prediction : str
        `NEGATIVE` or `POSITIVE`, of the sentence by itself.
    confidence : float
        Probability of that prediction.
    contribution : float
        Sum of the contributions of its words to the whole.
    start, end, text
        As in `Word`.
    """

    start: int
    end: int
    text: str
    prediction: str
    confidence: float
    contribution: float


class Poles(NamedTuple):
    """The numbers of the two classes that contributions below and above 0 speak for."""

    low: int
    high: int

    @classmethod
    def of(cls, classes: Classes, probabilities: Sequence[float]) -> Self:
        """The prediction and the runner-up; see `PerClass`."""
        if classes.two:
            return cls(0, 1)
        by_size = sorted(range(len(probabilities)), key=lambda k: -probabilities[k])
        first, second = by_size[:2]
        return cls(*sorted((first, second))) if classes.ordered else cls(second, first)

    def share(self, probabilities: Sequence[float]) -> float:
        """Probability of `high` if it is one of the two, from the probability of each class."""
        if len(probabilities) == 2:
            return probabilities[1]
        low, high = probabilities[self.low], probabilities[self.high]
        return high / (low + high) if low + high else 0.5

    def shares(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same for n texts, shape (n,), from probabilities as in `pipelines.labels`."""
        if probabilities.ndim == 1:
            return probabilities
        return np.array([self.share(row) for row in probabilities.tolist()])


class PerClass(msgspec.Struct, frozen=True, kw_only=True):
    """What an explanation says of classes other than `NEGATIVE` and `POSITIVE`.

    Of more than two, everything else in it is about the prediction and the runner-up: what
    decides between these two.

    Attributes
    ----------
    classes : list of str
        In the order of all that follows.
    ordered : bool
        Whether that order means something.
    low, high : str
        The prediction and the runner-up: contributions above 0 speak for `high`, below 0 for
        `low`. Of two or of ordered classes, `high` is the later one; of others, the prediction.
    probabilities : list of float
    margins, biases : list of float
        The logits of more than two classes, and what they are without any words; only of linear
        models.
    words : list of list of float
        What each word contributes to the margin of each of them: with `biases`, they add up to
        `margins`.
    """

    classes: list[str]
    ordered: bool
    low: str
    high: str
    probabilities: list[float]
    margins: list[float] = []
    biases: list[float] = []
    words: list[list[float]] = []

    @classmethod
    def of(
        cls, classes: Classes, poles: Poles, probabilities: Sequence[float]
    ) -> Self | msgspec.UnsetType:
        """What is known without an explanation; nothing for `NEGATIVE` and `POSITIVE`."""
        if classes.names == BINARY.names:
            return msgspec.UNSET
        return cls(
            classes=list(classes.names),
            ordered=classes.ordered,
            low=classes.names[poles.low],
            high=classes.names[poles.high],
            probabilities=list(probabilities),
        )


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A model's answer to a text, and where it comes from.

    Attributes
    ----------
    prediction : str
        `NEGATIVE` or `POSITIVE`.
    confidence : float
        Probability of the prediction; of two classes, 0.5 to 1.
    probability : float
        Probability of `POSITIVE`; of more than two classes, of `PerClass.high` if it is that or
        `PerClass.low`.
    known : float or None
        Share of the text's words that the model knows; None if that is not known.
    evidence : str
        ``none`` if there is not enough to go by, ``weak`` or ``clear``; see
        `pipelines.inference.evidence`.
    exact : bool
        Whether the contributions of the words and `bias` add up to `margin`. Otherwise they are
        approximate: how the probability of `POSITIVE` falls when a word is left out.
    unit : str
        What contributions are parts of: ``margin`` or ``probability``.
    margin, bias, threshold : float or None
        Only of linear models: the margin, what it is without any words, and the margin at which
        the probability is one half (None if there is no such margin).
    words : list of Word
        All tokens in their order.
    sentences : list of Sentence
    phrases : list of Phrase
        The strongest ones; only of linear models.
    top_for, top_against : list of Term
        The words that speak most for and against `prediction`, strongest first.
    notes : list of str
        What a reader should know, such as limits that a long text has reached.
    per_class : PerClass, optional
        None of it for `NEGATIVE` and `POSITIVE`.
    """

    prediction: str
    confidence: float
    probability: float
    known: float | None
    evidence: Evidence
    exact: bool
    unit: Literal["margin", "probability"]
    margin: float | None
    bias: float | None
    threshold: float | None
    words: list[Word]
    sentences: list[Sentence]
    phrases: list[Phrase]
    top_for: list[Term]
    top_against: list[Term]
    notes: list[str]
    per_class: PerClass | msgspec.UnsetType = msgspec.UNSET

    @property
    def poles(self) -> tuple[str, str]:
        """The classes that contributions below and above 0 speak for."""
        if self.per_class is msgspec.UNSET:
            return BINARY.names[0], BINARY.names[1]
        return self.per_class.low, self.per_class.high

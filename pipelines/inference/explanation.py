"""An explanation: the parts of an answer, by words, phrases and sentences."""

from __future__ import annotations

from typing import Literal

import msgspec


class Word(msgspec.Struct, frozen=True, gc=False):
    """A token of the text: a word, punctuation, an emoticon, an emoji.

    Attributes
    ----------
    start, end : int
        It is ``text[start:end]`` of the string that was explained, in characters (code points).
    text : str
        Those characters; lone surrogates, which JSON cannot carry, are U+FFFD.
    contribution : float
        Above 0 it speaks for `POSITIVE`, below 0 for `NEGATIVE`; in units of
        `Explanation.unit`. Everything about n-grams is folded onto their words.
    strength : int
        The same as a shade, relative to the strongest word of the text: -3 to 3.
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


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A model's answer to a text, and where it comes from.

    Attributes
    ----------
    prediction : str
        `NEGATIVE` or `POSITIVE`.
    confidence : float
        Probability of the prediction, 0.5 to 1.
    probability : float
        Probability of `POSITIVE`.
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
    """

    prediction: str
    confidence: float
    probability: float
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

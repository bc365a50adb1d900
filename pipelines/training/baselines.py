"""The floor to beat: baselines that learn nothing, or next to nothing, from the texts.

They are scikit-learn classifiers from raw text to labels, so that they go through the same
evaluation as every model.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.utils.validation import check_is_fitted

from pipelines.datasets.normalise import normalise
from pipelines.errors import TrainingError

LEXICON: Final = Path(__file__).with_name("lexicon.toml")

REACH: Final = 3
"""Words after a negator or an adverb that it changes, unless the clause ends before."""
NEGATED: Final = -0.6
"""Factor of a negated word: "not great" is bad, though less so than "terrible"."""
BEFORE_BUT: Final = 0.6
AFTER_BUT: Final = 1.3
"""What follows "but" is what the sentence wants to say."""
EXCLAMATION: Final = 0.1
"""Each of up to four exclamation marks adds this share to its sentence."""
SLOPE: Final = 0.6
"""Steepness of the sigmoid from the score of a text to its probability."""

_ADDRESS: Final = re.compile(r"https?://\S+|www\.\S+")
_SENTENCE_END: Final = frozenset("!?.;")
_CLAUSE_END: Final = frozenset("!?.,;:")


class LexiconClassifier(ClassifierMixin, BaseEstimator):
    """Counts opinion words, with the grammar that turns them round or makes them stronger.

    The weights of the words are fixed, from mild (1) to strong (4). A negator up to three words
    before turns a word round, an adverb there changes its strength, what follows "but" counts
    more than what stood before it, exclamation marks add to their sentence, and emoticons count
    like words. The sum, divided by the square root of the number of opinion words so that long
    texts are not surer than their words, goes through a fixed sigmoid.

    Nothing is learned but the names of the classes.

    Attributes
    ----------
    classes_ : ndarray, shape (2,)
        The two labels in sorted order; the second one is the positive class.
    """

    def fit(self, X: Sequence[str], y: ArrayLike) -> Self:
        """Take the names of the classes from `y`.

        Parameters
        ----------
        X : sequence of str, length n
            Not looked at.
        y : array-like, shape (n,)
            Labels, of which the larger one is the positive class.

        Raises
        ------
        TrainingError
            If `y` does not hold exactly two classes.
        """
        classes = np.unique(np.asarray(y))
        if len(classes) != 2:
            raise TrainingError(
                f"The lexicon baseline needs texts of two classes; there are {len(classes)}."
            )
        self.classes_ = classes
        return self

    def decision_function(self, X: Sequence[str]) -> NDArray[np.float64]:
        """Scores of n texts, shape (n,); above 0 is positive, 0 holds no opinion word."""
        check_is_fitted(self)
        return np.array([_score(text) for text in X], dtype=np.float64)

    def predict_proba(self, X: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities of the classes for n texts, shape (n, 2)."""
        positive = expit(SLOPE * self.decision_function(X))
        return np.column_stack([1 - positive, positive])

    def predict(self, X: Sequence[str]) -> NDArray[np.str_]:
        """Labels of n texts, shape (n,); a text without any opinion word counts as positive."""
        positive = self.decision_function(X) >= 0
        predicted: NDArray[np.str_] = self.classes_[positive.astype(np.int64)]
        return predicted


def baselines(seed: int) -> dict[str, BaseEstimator]:
    """Unfitted classifiers by name: zero rule, random and lexicon.

    The zero rule answers the most frequent class with the frequencies as probabilities. The random
    one draws labels by their frequency, the same ones for the same `seed`.
    """
    return {
        "zero_rule": DummyClassifier(strategy="prior"),
        "random": DummyClassifier(strategy="stratified", random_state=seed),
        "lexicon": LexiconClassifier(),
    }


class Lexicon(NamedTuple):
    """Values and factors by lower-case token."""

    words: dict[str, float]
    """Opinion words, -4 to 4."""
    emoticons: dict[str, float]
    intensifiers: dict[str, float]
    """Factors of the opinion word after them."""
    negators: frozenset[str]
    token: re.Pattern[str]
    """An emoticon, a word or a punctuation mark."""


@cache
def lexicon() -> Lexicon:
    """The lexicon that ships with OpinionLens."""
    tables = tomllib.loads(LEXICON.read_text(encoding="utf-8"))
    emoticons = _by_token(tables["emoticons"])
    longest_first = sorted(emoticons, key=len, reverse=True)
    pictures = "|".join(re.escape(emoticon) for emoticon in longest_first)
    return Lexicon(
        words=_by_token(tables["words"]),
        emoticons=emoticons,
        intensifiers=_by_token(tables["intensifiers"]),
        negators=frozenset(tables["negators"].split()),
        token=re.compile(rf"(?:{pictures})(?!\w)|[a-z]+(?:['-][a-z]+)*|[!?.,;:]"),
    )


def _by_token(table: dict[str, str]) -> dict[str, float]:
    return {token: float(value) for value, tokens in table.items() for token in tokens.split()}


def _score(text: str) -> float:
    total, found = 0.0, 0
    for sentence in _sentences(text):
        values = _values(sentence)
        marks = min(sentence.count("!"), 4)
        total += sum(values) * (1 + EXCLAMATION * marks)
        found += len(values)
    return total / math.sqrt(found) if found else 0.0


def _sentences(text: str) -> Iterator[list[str]]:
    """Tokens of each sentence, with all the marks that end it."""
    sentence: list[str] = []
    for token in _tokens(text):
        ended = bool(sentence) and sentence[-1] in _SENTENCE_END
        if ended and token not in _SENTENCE_END:
            yield sentence
            sentence = []
        sentence.append(token)
    yield sentence


def _tokens(text: str) -> list[str]:
    plain = _ADDRESS.sub(" ", normalise(text).lower().replace("’", "'"))
    return lexicon().token.findall(plain)


def _values(sentence: list[str]) -> list[float]:
    """Values of the opinion words and emoticons of a sentence, in their order."""
    but = sentence.index("but") if "but" in sentence else None
    values = []
    for at, token in enumerate(sentence):
        value = lexicon().emoticons.get(token)
        if value is None and (weight := lexicon().words.get(token)):
            value = weight * _factor(sentence, at)
        if value is not None and but is not None:
            value *= BEFORE_BUT if at < but else AFTER_BUT
        if value is not None:
            values.append(value)
    return values


def _factor(sentence: list[str], at: int) -> float:
    """How the words before the one at `at` change it."""
    factor = 1.0
    for before in reversed(sentence[max(at - REACH, 0) : at]):
        if before in _CLAUSE_END:
            break
        if before in lexicon().negators or before.endswith("n't"):
            factor *= NEGATED
        factor *= lexicon().intensifiers.get(before, 1.0)
    return factor

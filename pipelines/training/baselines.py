"""The floor to beat: baselines that learn nothing, or next to nothing, from the texts.

They are scikit-learn classifiers from raw text to labels, so that they go through the same
evaluation as every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.utils.validation import check_is_fitted

from pipelines.errors import MissingExtraError, TrainingError
from pipelines.labels import BINARY, NEGATIVE, NEUTRAL, POSITIVE, Classes
from pipelines.text.normalise import normalise

_NEUTRAL: Final = 0.05
"""Size of a compound score from which a text is not neutral."""
_SENTIMENTS: Final = ((NEGATIVE, POSITIVE), (NEGATIVE, NEUTRAL, POSITIVE))

if TYPE_CHECKING:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


class VaderClassifier(ClassifierMixin, BaseEstimator):
    """VADER: a lexicon of opinion words with rules for negation, emphasis and "but".

    The compound score, -1 to 1, is shifted and scaled to the probability of the larger label; it is
    not calibrated. With a third class in the middle, texts of a score between -0.05 and 0.05 are of
    it, as its authors suggest. Nothing is learned but the names of the classes. The lexicon is
    English and made for posts in social media, so it is a floor for other texts, not a model to
    use.

    Attributes
    ----------
    classes_ : ndarray, shape (2,) or (3,)
        The labels in sorted order; the last one is the positive class.

    References
    ----------
    Hutto and Gilbert, "VADER: A parsimonious rule-based model for sentiment analysis of social
    media text", ICWSM 2014.

    Examples
    --------
    >>> classifier = VaderClassifier().fit(["", ""], ["NEGATIVE", "POSITIVE"])
    >>> classifier.predict(["A lovely film.", "A boring film."]).tolist()
    ['POSITIVE', 'NEGATIVE']
    """

    def fit(self, X: Sequence[str], y: ArrayLike) -> Self:
        """Take the names of the classes from `y`.

        Parameters
        ----------
        X : sequence of str, length n
            Not used.
        y : array-like, shape (n,)
            Labels, of which the largest one is the positive class.

        Raises
        ------
        TrainingError
            If `y` holds neither two nor three classes.
        MissingExtraError
            If vaderSentiment is not installed.
        """
        classes = np.unique(np.asarray(y))
        if len(classes) not in (2, 3):
            raise TrainingError(
                f"VADER needs texts of two or three classes; there are {len(classes)}."
            )
        _analyzer()
        self.classes_ = classes
        return self

    def decision_function(self, X: Sequence[str]) -> NDArray[np.float64]:
        """Compound scores of n texts, shape (n,); 0 for a text without an opinion word."""
        check_is_fitted(self)
        return np.array([_compound(text) for text in X], dtype=np.float64)

    def predict_proba(self, X: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities of the classes for n texts, shape (n, 2) or (n, 3)."""
        scores = self.decision_function(X)
        positive = (1 + scores) / 2
        if self.classes_.size == 2:
            return np.column_stack([1 - positive, positive])
        # Half or more of what is not positive or negative is neutral, near a score of 0 all.
        neutral = np.where(np.abs(scores) < _NEUTRAL, 0.6, (1 - np.abs(scores)) / 4)
        rest = 1 - neutral
        return np.column_stack([rest * (1 - positive), neutral, rest * positive])

    def predict(self, X: Sequence[str]) -> NDArray[np.str_]:
        """Labels of n texts, shape (n,)."""
        scores = self.decision_function(X)
        chosen = (scores > 0).astype(np.int8)
        if self.classes_.size == 3:
            chosen = np.digitize(scores, [-_NEUTRAL, _NEUTRAL]).astype(np.int8)
        predicted: NDArray[np.str_] = self.classes_[chosen]
        return predicted


def baselines(seed: int, classes: Classes = BINARY) -> dict[str, BaseEstimator]:
    """Unfitted classifiers by name: zero rule, random and, for sentiments, VADER.

    The zero rule answers the most frequent class with the frequencies as probabilities. The random
    one draws labels by their frequency, the same ones for the same `seed`.
    """
    return {
        "zero_rule": DummyClassifier(strategy="prior"),
        "random": DummyClassifier(strategy="stratified", random_state=seed),
        **({"vader": VaderClassifier()} if classes.names in _SENTIMENTS else {}),
    }


@lru_cache(maxsize=1)
def _analyzer() -> SentimentIntensityAnalyzer:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        raise MissingExtraError("vaderSentiment", "train") from None
    return SentimentIntensityAnalyzer()


@lru_cache(maxsize=100_000)
def _compound(text: str) -> float:
    """The compound score of `text`; kept, because a text may be in several slices."""
    return float(_analyzer().polarity_scores(normalise(text))["compound"])

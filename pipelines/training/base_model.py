"""The base model: one linear model for opinions on anything, in English.

It is fitted on rows of three kinds, each with a weight of its own:

- the training texts of every data set, classes balanced inside each;
- the words of an opinion lexicon (VADER's, Hutto and Gilbert 2014) as texts of one word, as heavy
  as they are strong;
- single sentences of the longer texts. A sentence takes the label of its text where the lexicon
  says the same of it; one of which the lexicon says little counts less, and one it contradicts is
  left out. They teach what short texts look like, and how "not" and "but" change a word.

Too few of them are about any one word, so a rule helps: negated, a word does not count as itself.
"not delightful" has what was learnt of "not" and of negated "delightful", and nothing of
"delightful".

The lexicon is needed here only: what is kept of it is the weights that were learnt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.errors import MissingExtraError
from pipelines.params import Vectorizer
from pipelines.text.buffers import text_buffer
from pipelines.text.ngrams import negated_buckets
from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting
from pipelines.training.linear import descend

if TYPE_CHECKING:
    import polars as pl

    from pipelines.training.features import Labelled

_SENTENCE_END: Final = re.compile(r"""(?<=[.!?])["')\]]*\s+""")
_SENTENCE_WORDS: Final = range(3, 41)
"""Shorter ones say nothing, longer ones are not sentences."""

_TOLERANCE: Final = 0.1
_PASSES: Final = 100


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How the base model is fitted; the defaults were chosen as its model card tells.

    Attributes
    ----------
    C : float
        Weight of the loss of a row of weight 1 against the L2 penalty.
    min_df : int
        N-grams of fewer rows are left out.
    smoothing : float
        Added to the weighted counts of each class before the log of their ratio is taken.
    lexicon : float
        Mean weight of a word of the lexicon.
    agreeing, neutral : float
        Mean weight of a sentence with which the lexicon agrees, and of one without much opinion.
    opinion : float
        Lexicon score, 0 to 1, from which on a sentence counts as holding an opinion.
    sentence_texts : int
        Sentences come from at most this many texts of each data set.
    negation : float
        Share of its weight that a word loses where it is negated.
    kept : int
        Number of weights that are kept at most, the largest ones.
    """

    vectorizer: Vectorizer = Vectorizer(ngram_max=3, bits=23)
    C: float = 4.0
    min_df: int = 2
    smoothing: float = 5.0
    lexicon: float = 3.0
    agreeing: float = 0.5
    neutral: float = 0.2
    opinion: float = 0.3
    sentence_texts: int = 20_000
    negation: float = 1.0
    kept: int = 1_250_000


class Rows(msgspec.Struct, frozen=True):
    """Rows to fit on.

    Attributes
    ----------
    counts : csr_matrix of float32, shape (n, 2 ** bits)
    positive : bool array, shape (n,)
    weights : float64 array, shape (n,)
    """

    counts: sp.csr_matrix
    positive: NDArray[np.bool_]
    weights: NDArray[np.float64]


class WeightTable(msgspec.Struct, frozen=True):
    """A fitted linear model on the presence of hashed n-grams.

    Attributes
    ----------
    weights : float32 array, shape (2 ** bits,)
    bias : float
        The margin of a text is ``bias`` plus the sum of the weights of its n-grams, divided by
        the square root of how many there are.
    """

    weights: NDArray[np.float32]
    bias: float

    def margins(self, counts: sp.csr_matrix) -> NDArray[np.float64]:
        """Margins of n texts from their counts, shape (n,)."""
        found = sp.csr_matrix(
            (np.ones(counts.nnz), counts.indices, counts.indptr), shape=counts.shape
        )
        lengths = np.sqrt(np.maximum(np.diff(counts.indptr), 1))
        sums = np.asarray(found @ self.weights.astype(np.float64))
        return np.asarray(sums / lengths + self.bias, dtype=np.float64)


class OpinionLexicon:
    """VADER's lexicon, from the package `vaderSentiment`.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
        except ImportError:
            raise MissingExtraError("vaderSentiment", "bench") from None
        self._analyzer = SentimentIntensityAnalyzer()

    @property
    def words(self) -> dict[str, float]:
        """Words and emoticons with their strength, -4 to 4; none has 0."""
        return {word: float(value) for word, value in self._analyzer.lexicon.items() if value}

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """What the lexicon's rules make of n texts, shape (n,), -1 to 1; 0 is no opinion."""
        found = (self._analyzer.polarity_scores(text)["compound"] for text in texts)
        return np.fromiter(found, np.float64, len(texts))


class Words(msgspec.Struct, frozen=True):
    """The distinct words of some texts.

    Attributes
    ----------
    plain, negated : int32 arrays, shape (m,)
        The bucket of each, and its bucket as a negated word.
    """

    plain: NDArray[np.int32]
    negated: NDArray[np.int32]

    @classmethod
    def of(cls, texts: pl.Series | Sequence[str], recipe: Recipe) -> Words:
        """Of `texts`, as the vectorizer sees them."""
        return cls(*negated_buckets(text_buffer(texts), recipe.vectorizer.bits))


def dataset_rows(texts: pl.DataFrame, recipe: Recipe) -> Rows:
    """The texts of one data set (columns `text` and `label`), both classes equally heavy."""
    positive = texts["label"].to_numpy() == 1
    return _balanced(_count(texts["text"], recipe), positive, 1.0)


def lexicon_rows(lexicon: OpinionLexicon, recipe: Recipe) -> Rows:
    """Each word of the lexicon as a text, as heavy as it is strong."""
    values = np.array(list(lexicon.words.values()))
    strength = np.abs(values)
    counts = _count(list(lexicon.words), recipe)
    return Rows(counts, values > 0, recipe.lexicon * strength / strength.mean())


def sentence_rows(texts: pl.DataFrame, lexicon: OpinionLexicon, recipe: Recipe) -> list[Rows]:
    """Sentences of the texts of one data set: those the lexicon agrees with, and neutral ones.

    Empty if no text has two sentences.
    """
    stride = max(1, -(-texts.height // recipe.sentence_texts))
    sentences: list[str] = []
    labels: list[int] = []
    for text, label in texts.select("text", "label").gather_every(stride).iter_rows():
        found = split_sentences(text)
        sentences += found
        labels += [label] * len(found)
    if not sentences:
        return []
    positive = np.array(labels) == 1
    scores = lexicon.scores(sentences)
    counts = _count(sentences, recipe)
    agreement = np.where(positive, scores, -scores)
    chosen = (
        (agreement >= recipe.opinion, recipe.agreeing),
        (np.abs(scores) < recipe.opinion, recipe.neutral),
    )
    return [_balanced(counts[rows], positive[rows], weight) for rows, weight in chosen]


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, without very short and very long ones; empty if it is only one."""
    parts = _SENTENCE_END.split(text)
    if len(parts) < 2:
        return []
    return [part for part in parts if len(part.split()) in _SENTENCE_WORDS]


def fit_table(parts: Sequence[Rows], recipe: Recipe, seed: int) -> WeightTable:
    """Fit a support vector machine on naive Bayes log-count ratios (Wang and Manning 2012).

    The same rows in the same order give the same table.
    """
    counts = sp.vstack([part.counts for part in parts], format="csr")
    positive = np.concatenate([part.positive for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    weighting = TermWeighting("binary", min_df=recipe.min_df).fit(counts)
    weighting.weights_ = _log_count_ratio(counts, positive, weights, recipe)[weighting.buckets_]
    features = weighting.transform(counts)
    del counts
    coef, bias, _ = descend(
        features.indptr,
        features.indices,
        features.data,
        np.arange(positive.size),
        np.where(positive, 1.0, -1.0),
        recipe.C * weights,
        features.shape[1],
        _TOLERANCE,
        _PASSES,
        seed,
    )
    table = np.zeros(2**recipe.vectorizer.bits, dtype=np.float32)
    table[weighting.buckets_] = coef * weighting.weights_
    return WeightTable(table, float(bias))


def turn_negated(table: WeightTable, words: Sequence[Words], recipe: Recipe) -> WeightTable:
    """A table by which words lose their weight where they are negated."""
    plain, negated = np.unique(
        np.hstack([np.vstack([some.plain, some.negated]) for some in words]), axis=1
    )
    weights = table.weights.copy()
    # Two words may share a bucket: then both are taken off.
    np.subtract.at(weights, negated, np.float32(recipe.negation) * table.weights[plain])
    return WeightTable(weights, table.bias)


def fit_sigmoid(table: WeightTable, validation: Sequence[Labelled]) -> tuple[float, float]:
    """Slope and offset from margin to probability (Platt 1999).

    Every data set counts the same, and inside it both classes, so that the probability supposes
    nothing about how many texts are positive.
    """
    from sklearn.linear_model import LogisticRegression

    margins = np.concatenate([table.margins(data.counts) for data in validation])
    positive = np.concatenate([data.labels == 1 for data in validation])
    weights = [_class_weights(data.labels == 1) / data.labels.size for data in validation]
    # The penalty is meant for weights of about 1.
    scaled = np.concatenate(weights) * positive.size / len(weights)
    sigmoid = LogisticRegression(C=1e6).fit(margins[:, np.newaxis], positive, scaled)
    return float(sigmoid.coef_[0, 0]), float(sigmoid.intercept_[0])


def _log_count_ratio(
    counts: sp.csr_matrix,
    positive: NDArray[np.bool_],
    weights: NDArray[np.float64],
    recipe: Recipe,
) -> NDArray[np.float32]:
    """Log of the ratio of each bucket's weighted, smoothed shares in the classes."""
    seen = np.bincount(counts.indices, minlength=counts.shape[1]) >= recipe.min_df
    entries = np.diff(counts.indptr)

    def log_shares(wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        heavy = np.repeat(np.where(wanted, weights, 0.0), entries)
        total = np.bincount(counts.indices, heavy, minlength=counts.shape[1]) + recipe.smoothing
        return np.asarray(np.log(total / total[seen].sum()), dtype=np.float64)

    return (log_shares(positive) - log_shares(~positive)).astype(np.float32)


def _count(texts: pl.Series | Sequence[str], recipe: Recipe) -> sp.csr_matrix:
    return HashedNgramVectorizer(**msgspec.structs.asdict(recipe.vectorizer)).transform(texts)


def _balanced(counts: sp.csr_matrix, positive: NDArray[np.bool_], weight: float) -> Rows:
    return Rows(counts, positive, weight * _class_weights(positive))


def _class_weights(positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of mean 1 that make both classes equally heavy."""
    share = positive.mean() if positive.size else 0.5
    return np.where(positive, 0.5 / max(share, 1e-9), 0.5 / max(1 - share, 1e-9))

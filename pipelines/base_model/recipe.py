"""The base model: one linear model for opinions on anything, in English.

It is fitted on rows of four kinds, each with a weight of its own:

- the texts of every source, classes balanced inside each;
- single sentences of the longer texts. A sentence takes the label of its text where VADER's rules
  say the same of it; one of which they say little counts less, and one they contradict is left
  out. They teach what short texts look like;
- the words of three opinion lexicons as texts of one word, as heavy as they are strong;
- idioms of ours (`idioms.csv`), alone and in a few frames that say nothing.

What a negated word means is learnt where enough rows have it. Of a word of the lexicons that few
rows negate, negation takes back what the word itself says, if no idiom negates it.
A negator alone leans to the negative; a part of that is taken away, for where it turns a complaint
round.

The lexicons are needed here only: what is kept of them is the weights that were learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.config.params import Vectorizer
from pipelines.text.languages import LANGUAGES
from pipelines.text.sentences import split_sentences
from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting, log_count_ratio
from pipelines.training import calibration
from pipelines.training.dual_descent import dual_coordinate_descent

if TYPE_CHECKING:
    import polars as pl

    from pipelines.base_model.lexicons import Vader

_SENTENCE_WORDS: Final = range(3, 41)
"""Shorter ones say nothing, longer ones are not sentences."""

_FRAMES: Final = ("{}", "Well, {}.", "I would say {}.", "{}, to be honest.")
"""Around idioms, so that what they are made of stands in enough rows."""

_TOLERANCE: Final = 0.1
NONE_NEGATED: Final = np.empty((0, 2), dtype=np.int32)
"""No pair of buckets; see `negated_words`."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How the base model is fitted; the defaults were chosen as its model card tells.

    Attributes
    ----------
    C : float
        Weight of the loss of a row of weight 1 against the L2 penalty.
    passes : int
        The solver goes over the rows at most this many times.
    min_df : int
        N-grams of fewer rows are left out.
    smoothing : float
        Added to the weighted counts of each class before the log of their ratio is taken.
    lexicon : float
        Mean weight of a word of the lexicons.
    idioms : float
        Mean weight of a text that is made of an idiom.
    agreeing, neutral : float
        Mean weight of a sentence with which VADER agrees, and of one without much opinion.
    opinion : float
        VADER's score, 0 to 1, from which on a sentence counts as holding an opinion.
    sentence_texts : int
        Sentences come from at most this many texts of each source.
    noisy : tuple of str
        Sources that are not used because their labels are noisy.
    folds : int
        The domains are left out in this many groups.
    negated : float
        Negation takes back half of what a word of the lexicons says if so many rows negate it, and
        more if fewer do.
    negators : float
        A negator keeps this share of its own weight.
    kept : int
        Number of weights that are kept at most, the largest ones.
    """

    vectorizer: Vectorizer = Vectorizer(ngram_max=3, bits=23)
    C: float = 1.0
    passes: int = 8
    min_df: int = 3
    smoothing: float = 5.0
    lexicon: float = 1.0
    idioms: float = 1.0
    agreeing: float = 1.0
    neutral: float = 0.4
    opinion: float = 0.3
    sentence_texts: int = 4_000
    noisy: tuple[str, ...] = (
        "crowdflower_emotion",
        "drug_drugscom",
        "financial_phrasebank",
        "fintech_apps",
        "letterboxd_films",
        "newsmtsc",
        "selfdriving_tweets",
        "style_references",
        "tfns_finance",
        "theboys_titles",
        "tiktok_app",
    )
    folds: int = 5
    negated: float = 1_000
    negators: float = 0.75
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


class Features(msgspec.Struct, frozen=True):
    """All rows, one part below the other, with the n-grams that enough of them have.

    Attributes
    ----------
    presence : csr_matrix of float32, shape (n, n_kept)
        1 over the square root of the number of a row's n-grams, for each of them.
    buckets : int32 array, shape (n_kept,)
        The bucket of each column.
    lengths : float32 array, shape (n,)
        The square root of the number of n-grams of each row.
    positive, weights
        See `Rows`.
    ends : int64 array, shape (n_parts + 1,)
        Part i has the rows ``ends[i]`` to ``ends[i + 1]``.
    """

    presence: sp.csr_matrix
    buckets: NDArray[np.int32]
    lengths: NDArray[np.float32]
    positive: NDArray[np.bool_]
    weights: NDArray[np.float64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[Rows], recipe: Recipe) -> Features:
        """Stack `parts`."""
        counts = sp.vstack([part.counts for part in parts], format="csr")
        lengths = np.sqrt(np.maximum(np.diff(counts.indptr), 1)).astype(np.float32)
        weighting = TermWeighting("binary", min_df=recipe.min_df).fit(counts)
        sizes = [part.positive.size for part in parts]
        return cls(
            presence=weighting.transform(counts),
            buckets=weighting.buckets_,
            lengths=lengths,
            positive=np.concatenate([part.positive for part in parts]),
            weights=np.concatenate([part.weights for part in parts]),
            ends=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        )

    def rows(self, parts: Sequence[int]) -> NDArray[np.int64]:
        """The rows of some parts."""
        spans = [np.arange(self.ends[part], self.ends[part + 1]) for part in parts]
        return np.concatenate(spans)


def text_rows(texts: pl.DataFrame, recipe: Recipe) -> Rows:
    """The texts of one source (columns `text` and `label`), both classes equally heavy."""
    positive = texts["label"].to_numpy() == 1
    return Rows(_count(texts["text"], recipe), positive, class_weights(positive))


def lexicon_rows(words: dict[str, float], recipe: Recipe) -> Rows:
    """Words with their strength, below 0 for negative ones, as texts of one word."""
    values = np.array(list(words.values()))
    strength = np.abs(values)
    counts = _count(list(words), recipe)
    return Rows(counts, values > 0, recipe.lexicon * strength / strength.mean())


def idiom_rows(idioms: Mapping[str, bool], recipe: Recipe) -> Rows:
    """Idioms, by whether they are positive, in every frame; both classes equally heavy."""
    texts = [frame.format(idiom) for frame in _FRAMES for idiom in idioms]
    positive = np.tile(np.fromiter(idioms.values(), np.bool_, len(idioms)), len(_FRAMES))
    return Rows(_count(texts, recipe), positive, recipe.idioms * class_weights(positive))


def negated_words(words: Iterable[str], recipe: Recipe) -> NDArray[np.int32]:
    """The buckets of single words and of the same words negated, shape (n, 2)."""
    alone = _of_single_words(recipe)
    every = list(words)
    plain, negated = _count(every, alone), _count([f"not {word}" for word in every], alone)
    ends = plain.indptr[1:], negated.indptr[1:]
    # Buckets are in the order of their first occurrence: "not", the word, the word negated.
    single = (np.diff(plain.indptr) == 1) & (np.diff(negated.indptr) == 3)
    return np.column_stack(
        [plain.indices[ends[0][single] - 1], negated.indices[ends[1][single] - 1]]
    ).astype(np.int32)


def _negators(recipe: Recipe) -> NDArray[np.int32]:
    """The buckets of the words that negate."""
    counts = _count(LANGUAGES["en"].negators.split(), _of_single_words(recipe))
    single = np.diff(counts.indptr) == 1  # not "dont", which is two tokens
    return np.unique(counts.indices[counts.indptr[:-1][single]])


def _of_single_words(recipe: Recipe) -> Recipe:
    vectorizer = msgspec.structs.replace(recipe.vectorizer, ngram_max=1)
    return msgspec.structs.replace(recipe, vectorizer=vectorizer)


def sentence_rows(texts: pl.DataFrame, vader: Vader, recipe: Recipe) -> Rows:
    """Sentences of the texts of one source: those that VADER agrees with, and neutral ones."""
    stride = max(1, -(-texts.height // recipe.sentence_texts))
    sentences: list[str] = []
    labels: list[int] = []
    for text, label in texts.select("text", "label").gather_every(stride).iter_rows():
        found = sentences_of(text)
        sentences += found
        labels += [label] * len(found)
    positive = np.array(labels, dtype=np.int8) == 1
    scores = vader.scores(sentences)
    agreeing = np.where(positive, scores, -scores) >= recipe.opinion
    neutral = np.abs(scores) < recipe.opinion
    weights = np.zeros(positive.size)
    for rows, weight in ((agreeing, recipe.agreeing), (neutral, recipe.neutral)):
        weights[rows] = weight * class_weights(positive[rows])
    used = weights > 0
    kept = [sentence for sentence, keep in zip(sentences, used, strict=True) if keep]
    return Rows(_count(kept, recipe), positive[used], weights[used])


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, without very short and very long ones; empty if it is only one."""
    spans = split_sentences(text)
    if len(spans) < 2:
        return []
    parts = [text[start:end] for start, end in spans]
    return [part for part in parts if len(part.split()) in _SENTENCE_WORDS]


def fit_table(
    features: Features,
    rows: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    negated: NDArray[np.int32] = NONE_NEGATED,
) -> tuple[NDArray[np.float32], float]:
    """Fit a support vector machine on naive Bayes log-count ratios (Wang and Manning 2012).

    The same rows in the same order give the same model. `negated` says which words negation takes
    back as far as little is learnt of it; see `negated_words`. If there are any, the weights of
    negators are lowered too.

    Returns
    -------
    weights : float32 array, shape (2 ** bits,)
        Of the buckets: the `kept` largest ones, 0 for the others.
    bias : float
    """
    positive, weights_of = features.positive[rows], features.weights[rows]
    ratio = log_count_ratio(
        _total(features, rows[positive], weights_of[positive]),
        _total(features, rows[~positive], weights_of[~positive]),
        recipe.smoothing,
    ).astype(np.float32)
    presence = features.presence
    scaled = (presence.data * ratio[presence.indices], presence.indices, presence.indptr)
    coef, bias, _ = dual_coordinate_descent(
        sp.csr_matrix(scaled, shape=presence.shape),
        rows,
        np.where(positive, 1.0, -1.0),
        recipe.C * weights_of,
        _TOLERANCE,
        recipe.passes,
        seed,
    )
    weights = np.zeros(2**recipe.vectorizer.bits, dtype=np.float32)
    weights[features.buckets] = coef * ratio
    if negated.size:
        frequency = np.zeros(weights.size, dtype=np.float32)
        frequency[features.buckets] = _total(features, rows, np.ones(rows.size))
        words, taken_back = negated.T
        share = recipe.negated / (recipe.negated + frequency[taken_back])
        weights[taken_back] -= share * weights[words]
        weights[_negators(recipe)] *= recipe.negators
    weights[np.argsort(-np.abs(weights), kind="stable")[recipe.kept :]] = 0
    return weights, float(bias)


def fit_sigmoid(
    margins: Sequence[NDArray[np.float64]], positive: Sequence[NDArray[np.bool_]]
) -> tuple[float, float]:
    """Slope and offset from margin to probability, from texts of several domains.

    Every domain counts the same, and inside it both classes, so that the probability supposes
    nothing about how many texts are positive.
    """
    weights = [class_weights(some) / some.size for some in positive]
    labels = np.concatenate(positive)
    scaled = np.concatenate(weights) * labels.size / len(weights)
    return calibration.fit_sigmoid(np.concatenate(margins), labels, scaled)


def class_weights(positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of mean 1 that make both classes equally heavy."""
    share = positive.mean() if positive.size else 0.5
    return np.where(positive, 0.5 / max(share, 1e-9), 0.5 / max(1 - share, 1e-9))


def _total(
    features: Features, rows: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """How many `rows` have each column, each row counted by its weight."""
    heavy = np.zeros(features.positive.size, dtype=np.float32)
    heavy[rows] = weights * features.lengths[rows]
    return np.asarray(features.presence.T @ heavy)


def _count(texts: pl.Series | Sequence[str], recipe: Recipe) -> sp.csr_matrix:
    return HashedNgramVectorizer(**msgspec.structs.asdict(recipe.vectorizer)).transform(texts)

"""scikit-learn transformers from raw texts to weighted, hashed n-grams."""

from __future__ import annotations

from numbers import Integral
from typing import Final, Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from pipelines.config.params import Language
from pipelines.text.buffers import text_buffer
from pipelines.text.character_ngrams import CHAR_MAX
from pipelines.text.languages import LANGUAGES
from pipelines.text.ngrams import count_ngrams
from pipelines.text.row_blocks import RowBlocks
from pipelines.text.tokens import TOKENS_VERSION, check_version

_TOKENS: Final = "tokens_version"
"""Under which a saved vectorizer says what definition of tokens it was made for."""


class HashedNgramVectorizer(TransformerMixin, BaseEstimator):
    """Raw texts -> counts of their n-grams, hashed into ``2 ** bits`` buckets.

    Beside the n-grams there are negated words (see `pipelines.text.ngrams`).

    Nothing is learned, so a text has the same features whatever it stands with. Hashing instead
    of a vocabulary is Weinberger et al. (2009), "Feature Hashing for Large Scale Multitask
    Learning", without signs: a count stays a count.

    Parameters
    ----------
    ngram_max : int
        Longest n-gram, in tokens (see `pipelines.text.tokens`).
    bits : int
        Number of buckets, as a power of two.
    char_max : int
        Longest character n-gram of words (see `pipelines.text.character_ngrams`); 0: none.
    language : str
        Whose words negate; see `pipelines.text.languages`.

    Notes
    -----
    Not good where one has to know which n-gram a bucket stands for: hashing cannot be undone, and
    with few `bits` several n-grams share a bucket.

    Examples
    --------
    >>> from pipelines.text.vectorizer import HashedNgramVectorizer
    >>> counts = HashedNgramVectorizer(ngram_max=2, bits=18).transform(["good, really good", ""])
    >>> counts.shape
    (2, 262144)
    >>> int(counts[0].max()), counts[1].nnz
    (2, 0)
    """

    def __init__(
        self, ngram_max: int = 3, bits: int = 23, char_max: int = 0, language: Language = "en"
    ) -> None:
        self.ngram_max = ngram_max
        self.bits = bits
        self.char_max = char_max
        self.language = language

    def fit(self, X: object, y: object = None) -> Self:
        """Do nothing; there is nothing to learn."""
        return self

    def transform(self, X: object) -> csr_matrix:
        """Count n-grams.

        Parameters
        ----------
        X : n texts in any container `text_buffer` takes

        Returns
        -------
        csr_matrix of float32, shape (n, 2 ** bits)

        Raises
        ------
        InputError
            If `X` is a single string, or holds something that is not a string.
        """
        if not (isinstance(self.ngram_max, Integral) and self.ngram_max >= 1):
            raise ValueError(f"ngram_max must be an integer from 1 on, not {self.ngram_max!r}")
        if not (isinstance(self.bits, Integral) and 1 <= self.bits <= 30):
            raise ValueError(f"bits must be an integer from 1 to 30, not {self.bits!r}")
        if not (isinstance(self.char_max, Integral) and self.char_max in (0, *CHAR_MAX)):
            raise ValueError(
                f"char_max must be 0 or an integer from {CHAR_MAX[0]} to {CHAR_MAX[-1]}, "
                f"not {self.char_max!r}"
            )
        if self.language not in LANGUAGES:
            raise ValueError(
                f"language must be one of {', '.join(LANGUAGES)}, not {self.language!r}"
            )
        buckets, counts, offsets = count_ngrams(
            text_buffer(X), self.ngram_max, self.bits, self.char_max, language=self.language
        )
        if offsets[-1] <= np.iinfo(np.int32).max:
            offsets = offsets.astype(np.int32)
        return csr_matrix((counts, buckets, offsets), shape=(offsets.size - 1, 2**self.bits))

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), _TOKENS: TOKENS_VERSION}

    def __setstate__(self, state: dict[str, object]) -> None:
        check_version(state.pop(_TOKENS, 1))
        state = {"char_max": 0, "language": "en", **state}  # saved before there were these
        super().__setstate__(state)

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


class TermWeighting(TransformerMixin, BaseEstimator):
    """Counts of hashed n-grams -> weighted features of the n-grams that training has seen.

    Parameters
    ----------
    scheme : {"nb", "tfidf", "binary", "count"}
        ``nb``: presence, scaled to unit length, times the log-count ratio of the classes (Wang and
        Manning 2012, "Baselines and Bigrams"). ``tfidf``: ``1 + log(count)`` times the inverse
        document frequency, scaled to unit length. ``binary`` and ``count``: presence or count,
        scaled to unit length.
    min_df : int
        N-grams that stand in fewer texts are left out.
    smoothing : float
        Added to the counts of each class before their ratio is taken; ``nb`` only.
    min_ratio : float
        N-grams whose log-count ratio is nearer to 0 are left out: they are uninformative and many,
        the commonest words among them; ``nb`` only.
    damping : float
        The log-count ratio is divided by the number of texts with the n-gram to this power; ``nb``
        only.

    Attributes
    ----------
    buckets_ : int32 array, shape (n_kept,)
        The buckets that are kept, those of most texts first; column j of the output is bucket
        ``buckets_[j]``.
    weights_ : float32 array, shape (n_kept,)
        What each is multiplied with.

    Notes
    -----
    The default scheme is not good without labels or for more than two classes, and none is good
    for short texts with few n-grams in common with those it was fitted on: what was not seen in
    fitting is left out.

    Examples
    --------
    >>> from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting
    >>> counts = HashedNgramVectorizer(ngram_max=1, bits=18).transform(["good", "bad", "so good"])
    >>> weighting = TermWeighting("nb", min_df=1).fit(counts, [1, 0, 1])
    >>> weighting.transform(counts).shape, weighting.buckets_.size
    ((3, 3), 3)
    """

    def __init__(
        self,
        scheme: str = "nb",
        min_df: int = 2,
        smoothing: float = 1.0,
        min_ratio: float = 0.0,
        damping: float = 0.0,
    ) -> None:
        self.scheme = scheme
        self.min_df = min_df
        self.smoothing = smoothing
        self.min_ratio = min_ratio
        self.damping = damping

    def fit(self, X: csr_matrix | RowBlocks, y: ArrayLike | None = None) -> Self:
        """Learn which n-grams to keep and their weights.

        Parameters
        ----------
        X : csr_matrix of counts or RowBlocks, shape (n, n_buckets)
        y : array of two labels, shape (n,); needed for ``nb``
        """
        if self.scheme not in {"nb", "tfidf", "binary", "count"}:
            raise ValueError(f"scheme must be nb, tfidf, binary or count, not {self.scheme!r}")
        if not self.min_df >= 1:
            raise ValueError(f"min_df must be at least 1, not {self.min_df!r}")
        if not 0 < self.smoothing < np.inf:
            raise ValueError(f"smoothing must be positive, not {self.smoothing!r}")
        if not 0 <= self.min_ratio < np.inf:
            raise ValueError(f"min_ratio must not be negative, not {self.min_ratio!r}")
        if not 0 <= self.damping < np.inf:
            raise ValueError(f"damping must not be negative, not {self.damping!r}")
        if isinstance(X, RowBlocks):
            self.n_features_in_ = X.shape[1]
        else:
            X = self._counts(X, reset=True)
        df, positive = self._frequencies(X, y)
        # A tiny corpus may have nothing that occurs twice.
        least = min(self.min_df, int(df.max(initial=1)))
        self.buckets_ = _frequent_first(df, max(least, 1))
        df = df[self.buckets_]
        if self.scheme == "nb":
            positive = positive[self.buckets_]
            weights = log_count_ratio(positive, df - positive, self.smoothing)
            informative = np.abs(weights) >= self.min_ratio
            if informative.any():  # In a tiny corpus, perhaps none is.
                self.buckets_, df = self.buckets_[informative], df[informative]
                weights = weights[informative]
            weights /= df**self.damping
        elif self.scheme == "tfidf":
            weights = np.log((1 + X.shape[0]) / (1 + df)) + 1
        else:
            weights = np.ones(df.size)
        self.weights_ = weights.astype(np.float32)
        return self

    def transform(self, X: csr_matrix | RowBlocks) -> csr_matrix | RowBlocks:
        """Weight and scale.

        Parameters
        ----------
        X : csr_matrix of counts or RowBlocks, shape (n, n_buckets)

        Returns
        -------
        csr_matrix of float32, shape (n, n_kept)
            Blocks of it for blocks.
        """
        check_is_fitted(self)
        if isinstance(X, RowBlocks):
            same = self.weights_ if self.scheme in {"nb", "binary"} else None
            return X.map(self.transform, self.buckets_.size, same)
        X = self._counts(X, reset=False)
        column_of = np.full(X.shape[1], -1, dtype=np.int32)
        column_of[self.buckets_] = np.arange(self.buckets_.size, dtype=np.int32)
        # NumPy's memory comes in huge pages, Numba's does not.
        values = np.empty(X.nnz, dtype=np.float32)
        columns = np.empty(X.nnz, dtype=np.int32)
        offsets = np.zeros_like(X.indptr)
        _weigh(
            X.data,
            X.indices,
            X.indptr,
            column_of,
            self.weights_,
            self.scheme in {"nb", "binary"},
            self.scheme == "tfidf",
            values,
            columns,
            offsets,
        )
        used = offsets[-1]
        shape = (X.shape[0], self.buckets_.size)
        return csr_matrix((values[:used], columns[:used], offsets), shape=shape)

    def _counts(self, X: object, reset: bool) -> csr_matrix:
        checked = validate_data(
            self, X, accept_sparse="csr", dtype=np.float32, ensure_non_negative=True, reset=reset
        )
        counts = csr_matrix(checked)
        if not counts.data.all():
            # An entry is an occurrence here, and a stored zero would be taken for one.
            counts = counts.copy()
            counts.eliminate_zeros()
        return counts

    def _frequencies(
        self, X: csr_matrix | RowBlocks, y: ArrayLike | None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """In how many rows each bucket stands, and for ``nb`` in how many of the second class."""
        chosen = [np.ones(X.shape[0], dtype=np.bool_)]
        if self.scheme == "nb":
            classes, labels = np.unique(np.asarray(y), return_inverse=True)
            if classes.size != 2:
                raise ValueError(f"the nb scheme needs two classes, got {classes.size}")
            chosen.append(labels == 1)
        if not isinstance(X, RowBlocks):
            found = _row_counts(X, *chosen)
            return found[0], found[-1]
        total = [np.zeros(X.shape[1], dtype=np.int32) for _ in chosen]
        for found in X.each(_row_counts, *chosen):
            for frequency, more in zip(total, found, strict=True):
                frequency += more
        return total[0], total[-1]

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.target_tags.required = self.scheme == "nb"
        return tags


def log_count_ratio(
    positive: NDArray[np.number], negative: NDArray[np.number], smoothing: float
) -> NDArray[np.float64]:
    """``log((p / |p|) / (q / |q|))`` with the smoothed counts p and q (Wang and Manning 2012).

    Parameters
    ----------
    positive, negative : arrays, shape (m,)
        In how many rows of each class an n-gram stands, or the sum of their weights.
    smoothing : float
        Added to every count.
    """
    p, q = positive + smoothing, negative + smoothing
    return np.asarray(np.log(p / p.sum()) - np.log(q / q.sum()), dtype=np.float64)


def _frequent_first(df: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    """The buckets of at least `least` texts: most frequent first, then ascending.

    What a solver reads most often then stands together, and stays in the processor's cache.
    """
    kept = np.flatnonzero(df >= least).astype(np.int32)
    # 16 bits are sorted in linear time; the order among the most frequent does not matter.
    rarity = (0xFFFF - np.minimum(df[kept], 0xFFFF)).astype(np.uint16)
    return kept[np.argsort(rarity, kind="stable")]


@njit(cache=True, nogil=True)
def _weigh(
    counts: NDArray[np.float32],
    buckets: NDArray[np.int32],
    offsets: NDArray[np.int32],
    column_of: NDArray[np.int32],
    weights: NDArray[np.float32],
    presence: bool,
    weigh_first: bool,
    values: NDArray[np.float32],
    columns: NDArray[np.int32],
    ends: NDArray[np.int32],
) -> None:
    """Drop, weigh and scale the entries of all rows into `values`, `columns` and `ends`.

    ``ends[0]`` is 0 before. With `weigh_first` (tf-idf) the length is that of the weighted, kept
    entries; otherwise that of all entries before weighing, so that it needs no knowledge of what
    was kept.
    """
    used = 0
    for row in range(offsets.size - 1):
        begin = used
        square = 0.0
        # Without a branch, the processor looks up many columns at once instead of waiting for each.
        for entry in range(offsets[row], offsets[row + 1]):
            column = column_of[buckets[entry]]
            value = 1.0 if presence else np.float64(counts[entry])
            values[used] = value
            columns[used] = column
            used += column >= 0
            square += value * value
        if weigh_first:
            square = 0.0
            for entry in range(begin, used):
                value = (1 + np.log(np.float64(values[entry]))) * weights[columns[entry]]
                values[entry] = value
                square += value * value
        length = 1 / np.sqrt(square) if square > 0 else 0.0
        for entry in range(begin, used):
            weight = 1.0 if weigh_first else np.float64(weights[columns[entry]])
            values[entry] = np.float32(values[entry] * weight * length)
        ends[row + 1] = used


def _row_counts(X: csr_matrix, *chosen: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """In how many of the chosen rows each bucket stands, for each choice."""
    found = [np.zeros(X.shape[1], dtype=np.int32) for _ in chosen]
    for frequency, rows in zip(found, chosen, strict=True):
        _count_rows(X.indptr, X.indices, rows, frequency)
    return found


@njit(cache=True, nogil=True)
def _count_rows(
    offsets: NDArray[np.int32],
    buckets: NDArray[np.int32],
    chosen: NDArray[np.bool_],
    frequency: NDArray[np.int32],
) -> None:
    """Add to `frequency` in how many of the `chosen` rows each bucket stands."""
    for row in range(chosen.size):
        if chosen[row]:
            for entry in range(offsets[row], offsets[row + 1]):
                frequency[buckets[entry]] += 1

"""Which text a person should label next: the least certain ones, and not all of one kind.

Uncertainty is the margin of the two likeliest classes (Scheffer, Decomain and Wrobel 2001). Of the
least certain texts, those come first that are least like what is labelled, or already chosen: a
simple form of the batches of Zhdanov (2019), "Diverse mini-batch Active Learning".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.text.vectorizer import HashedNgramVectorizer

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BATCH: Final = 20
"""Texts that are chosen to differ; the model learns anew before they are used up."""
_CONSIDERED: Final = 10
"""Least certain texts to choose from, as a multiple of the batch."""
_BITS: Final = 18


def text_features(texts: Sequence[str]) -> csr_matrix:
    """Tf-idf of single words and pairs, rows of length 1, shape (n, 2 ** 18)."""
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = HashedNgramVectorizer(ngram_max=2, bits=_BITS).transform(texts)
    return TfidfTransformer(sublinear_tf=True).fit_transform(counts).tocsr()


def certainty(each: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the likeliest class is ahead of the next one, shape (n,).

    Parameters
    ----------
    each : float array, shape (n, n_classes)
        Probability of each class.
    """
    top = np.partition(each, -2, axis=1)
    return top[:, -1] - top[:, -2]


def ordered(
    features: csr_matrix, certain: NDArray[np.float64], seen: NDArray[np.intp]
) -> NDArray[np.intp]:
    """All rows that are not in `seen`, the ones to label first first.

    Parameters
    ----------
    features : csr_matrix, shape (n, m)
        As `text_features` gives them.
    certain : float array, shape (n,)
        As `certainty` gives it.
    seen : int array
        Rows that are labelled.
    """
    rows = np.argsort(certain, kind="stable")
    rows = rows[~np.isin(rows, seen)]
    first = _diverse(features, certain, rows[: _CONSIDERED * BATCH], seen)
    return np.concatenate([first, rows[~np.isin(rows, first)]])


def _diverse(
    features: csr_matrix,
    certain: NDArray[np.float64],
    rows: NDArray[np.intp],
    seen: NDArray[np.intp],
) -> NDArray[np.intp]:
    """A batch of `rows`, one after the other: uncertain, and unlike all before it."""
    likeness = np.zeros(rows.size)
    if seen.size and rows.size:
        likeness = (features[rows] @ features[seen].T).max(axis=1).toarray().ravel()
    chosen: list[int] = []
    for _ in range(min(BATCH, rows.size)):
        worth = (1 - certain[rows]) * (1 - likeness)
        worth[chosen] = -1
        chosen.append(int(np.argmax(worth)))
        alike = (features[rows] @ features[rows[chosen[-1]]].T).toarray().ravel()
        likeness = np.maximum(likeness, alike)
    return rows[chosen]

"""Texts that are nearly the same: groups by the n-grams that they share.

MinHash signatures in bands (Broder 1997, "On the Resemblance and Containment of Documents";
Leskovec, Rajaraman and Ullman 2014, "Mining of Massive Datasets", chapter 3) find pairs that may be
alike, and the pairs' n-grams are then compared. Nothing is compared with everything.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

SIMILARITY: Final = 0.8
"""Jaccard similarity of the n-grams from which on two texts are nearly the same."""

_BANDS: Final = 8
_ROWS: Final = 4
"""Hashes in a band. A pair of similarity 0.8 is found in 98 of 100 cases, one of 0.3 in 6."""
_PAIRS_AT_ONCE: Final = 20_000


def near_duplicate_groups(counts: csr_matrix, seed: int) -> NDArray[np.intp]:
    """The number of each text's group; a text that is like no other is a group of its own.

    Parameters
    ----------
    counts : csr_matrix, shape (n, m)
        N-grams of each text; that there are any counts, not how many.
    seed : int
        Of the hash functions.

    Returns
    -------
    array of int, shape (n,)
    """
    first, second = _alike(counts, *_candidate_pairs(counts, seed))
    n = counts.shape[0]
    links = coo_matrix((np.ones(first.size, dtype=bool), (first, second)), shape=(n, n))
    groups: NDArray[np.intp] = connected_components(links, directed=False)[1].astype(np.intp)
    return groups


def _candidate_pairs(counts: csr_matrix, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of texts that agree in a band: each text with the first one that has its hashes."""
    pairs = [np.empty((0, 2), dtype=np.intp)]
    written = np.flatnonzero(np.diff(counts.indptr))
    draw = np.random.default_rng(seed)
    for _ in range(_BANDS):
        keys = np.zeros(written.size, dtype=np.uint64)
        for _ in range(_ROWS):
            factor, offset, mix = draw.integers(1, 2**63, 3, dtype=np.uint64)
            keys = keys * (mix | np.uint64(1)) + _least_hash(counts, written, factor, offset)
        order = np.argsort(keys, kind="stable")
        begins = np.append(True, np.diff(keys[order]) != 0)
        leaders = order[begins][np.cumsum(begins) - 1]
        followers = leaders != order
        pairs.append(np.column_stack([written[leaders[followers]], written[order[followers]]]))
    found = np.unique(np.concatenate(pairs), axis=0)
    return found[:, 0], found[:, 1]


def _least_hash(
    counts: csr_matrix, written: NDArray[np.intp], factor: np.uint64, offset: np.uint64
) -> NDArray[np.uint64]:
    """The least hash of each text that has an n-gram."""
    hashes = counts.indices.astype(np.uint64) * (factor | np.uint64(1)) + offset
    # The low bits of a product depend on few bits of its factors.
    hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    least: NDArray[np.uint64] = np.minimum.reduceat(hashes >> np.uint64(32), counts.indptr[written])
    return least


def _alike(
    counts: csr_matrix, first: NDArray[np.intp], second: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs whose n-grams are similar enough."""
    present = csr_matrix(
        (np.ones(counts.nnz, dtype=np.float32), counts.indices, counts.indptr), counts.shape
    )
    sizes = np.diff(counts.indptr)
    shared = np.empty(first.size)
    for start in range(0, first.size, _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        both = present[first[part]].multiply(present[second[part]])
        shared[part] = np.asarray(both.sum(axis=1)).ravel()
    alike = shared >= SIMILARITY * (sizes[first] + sizes[second] - shared)
    return first[alike], second[alike]

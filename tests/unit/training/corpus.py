"""A small corpus with a rule to learn, made anew from a seed."""

from __future__ import annotations

import random

import numpy as np
import scipy.sparse as sp

from pipelines.config.params import Vectorizer
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.features import Labelled

GOOD = ["good", "great", "lovely", "fine", "superb", "wonderful", "not bad"]
BAD = ["bad", "awful", "poor", "dull", "dreadful", "boring", "not good"]
PLAIN = ["film", "story", "the", "a", "was", "it", "and", "scene", "actor", "plot", "phone", "meal"]


def corpus(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """`n` texts and their labels, nearly balanced; one in ten is labelled wrongly."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(n):
        positive = draw.random() < 0.5
        words = draw.choices(GOOD if positive else BAD, k=2) + draw.choices(PLAIN, k=8)
        draw.shuffle(words)
        texts.append(" ".join(words) + draw.choice(["", "!", " :-)", " <br>", "..."]))
        labels.append(positive != (draw.random() < 0.1))
    return texts, np.array(labels, dtype=np.int8)


def labelled(n: int, vectorizer: Vectorizer, seed: int = 0) -> Labelled:
    """The corpus as counts."""
    texts, labels = corpus(n, seed)
    counts = HashedNgramVectorizer(vectorizer.ngram_max, vectorizer.bits).transform(texts)
    return Labelled(counts, labels)


def word_counts(n: int, seed: int) -> Labelled:
    """Texts of common words, and of rare ones that stand more often in one class."""
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=n).astype(np.int8)
    common = np.minimum(random.zipf(1.3, (n, 40)), 50_000)
    typical = (random.random((n, 12)) < 0.8) == labels[:, None]
    rare = 50_000 + 2 * random.integers(4_000, size=(n, 12)) + typical
    words = np.concatenate([common, rare], axis=1)
    offsets = np.arange(0, words.size + 1, words.shape[1])
    counts = sp.csr_matrix((np.ones(words.size, np.float32), words.ravel(), offsets), (n, 60_000))
    counts.sum_duplicates()
    return Labelled(counts, labels)

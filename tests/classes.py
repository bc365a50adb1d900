"""Models of several classes that are fitted in a moment, on texts made of a few words."""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.pipeline import Pipeline

from pipelines.config.params import Vectorizer
from pipelines.inference.compiling import fuse
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.labels import Classes
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import get_subject
from tests.unit.training.fitted import SMALLER

SENTIMENTS = Classes(("NEGATIVE", "NEUTRAL", "POSITIVE"), ordered=True)
TOPICS = Classes(
    ("Straße & Verkehr", "😀", "7", "very good", *(f"topic {n}" for n in range(16))), ordered=False
)
VECTORIZER = Vectorizer(ngram_max=2, bits=12)
FILLER = ["the", "a", "was", "it", "and", "scene", "plot", "phone", "meal", "day"]


def corpus(classes: Classes, n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """`n` texts and the numbers of their classes: three words of the class among others."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(len(classes.names), size=n).astype(np.int8)
    texts = []
    for label in labels:
        words = [f"word{label}x{draw.integers(6)}" for _ in range(3)] + [*draw.choice(FILLER, 7)]
        draw.shuffle(words)
        texts.append(" ".join(words))
    return texts, labels


def labelled(classes: Classes, n: int, seed: int = 0) -> Labelled:
    texts, labels = corpus(classes, n, seed)
    counts = HashedNgramVectorizer(VECTORIZER.ngram_max, VECTORIZER.bits).transform(texts)
    return Labelled(counts, labels, classes)


@cache
def fitted(subject: str = "nbsvm", classes: Classes = SENTIMENTS) -> Pipeline:
    found = get_subject(subject).for_classes(len(classes.names))
    parameters = found.parameters(SMALLER.get(subject, {}))
    rows = 60 * len(classes.names)
    return fit_pipeline(found, parameters, 0, VECTORIZER, labelled(classes, rows))


@cache
def fused(subject: str = "nbsvm", classes: Classes = SENTIMENTS) -> LinearScorer:
    scorer = fuse(fitted(subject, classes))
    assert scorer is not None
    return scorer

"""Small models that are fitted in a moment, on texts made of a few words."""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.pipeline import Pipeline

from pipelines.config.params import Vectorizer
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import get_subject

GOOD = ["great", "lovely", "good", "wonderful", "tasty"]
BAD = ["bad", "awful", "rude", "cold", "boring"]
FILLER = ["the", "film", "food", "waiter", "was", "and", "it", "plot"]

_PARAMETERS = {"random_forest": {"n_estimators": 20, "n_features": 50, "min_samples_leaf": 1}}
_TEXTS = 120


@cache
def fit_tiny(subject: str, ngram_max: int = 2, bits: int = 14, char_max: int = 0) -> Pipeline:
    """A calibrated pipeline that has learnt that `GOOD` words are good and `BAD` ones bad."""
    texts, labels = _corpus()
    vectorizer = Vectorizer(ngram_max=ngram_max, bits=bits, char_max=char_max)
    counts = HashedNgramVectorizer(ngram_max, bits, char_max).transform(texts)
    chosen = get_subject(subject)
    parameters = chosen.parameters(_PARAMETERS.get(subject, {}))
    return fit_pipeline(chosen, parameters, 0, vectorizer, Labelled(counts, labels))


def _corpus() -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(_TEXTS, dtype=np.int8) % 2
    texts = []
    for label in labels:
        words = [*rng.choice(FILLER, 6), *rng.choice(GOOD if label else BAD, 3)]
        rng.shuffle(words)
        texts.append(" ".join(words) + ".")
    return texts, labels

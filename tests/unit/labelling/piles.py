"""Piles of made-up texts whose labels are known, and a model that knows some of their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.labelling.active_learning import ActiveLearning
from pipelines.labelling.reading import places
from pipelines.labelling.store import LabelStore, Project
from pipelines.text.vectorizer import HashedNgramVectorizer

BITS = 16
KNOWN = {"lovely": 2.0, "great": 2.0, "poor": -2.0, "awful": -2.0}
WORDS = {
    "positive": ["lovely", "great", "zorbly", "flimbant"],
    "negative": ["poor", "awful", "quimpish", "drelled"],
    "neutral": ["plain", "usual", "middling", "sotto"],
}
FILLER = ["the", "a", "was", "it", "and", "scene", "plot", "phone", "meal", "day", "very", "room"]


def pile(n: int, classes: tuple[str, ...] = ("negative", "positive")) -> dict[str, str]:
    """`n` texts with their labels: one word of the class among others."""
    draw = np.random.default_rng(7)
    found: dict[str, str] = {}
    while len(found) < n:
        label = classes[len(found) % len(classes)]
        words = [*draw.choice(FILLER, 6), draw.choice(WORDS[label]), *draw.choice(FILLER, 4)]
        draw.shuffle(words)
        found[" ".join(map(str, words))] = label
    return found


def start() -> LinearScorer:
    """It knows half of the words."""
    weights = np.zeros(2**BITS, dtype=np.float32)
    vectorizer = HashedNgramVectorizer(ngram_max=1, bits=BITS)
    for word, weight in KNOWN.items():
        weights[vectorizer.transform([word]).indices] = weight
    info = TableInfo(ngram_max=1, bits=BITS, terms="presence", bias=0.0, slope=3.0, offset=0.0)
    return LinearScorer(info, weights)


def project(
    store: LabelStore, texts: list[str], classes: tuple[str, ...] = ("negative", "positive")
) -> Project:
    made = store.create("reviews", classes)
    store.add_texts(made, zip(places(pl.Series(texts)), texts, strict=True))
    return made


def opened(folder: Path, answers: dict[str, str]) -> ActiveLearning:
    store = LabelStore(f"sqlite:///{folder}/labels.db")
    classes = tuple(dict.fromkeys(sorted(answers.values())))
    return ActiveLearning(store, project(store, list(answers), classes), start())


def work(learning: ActiveLearning, answers: dict[str, str], n: int, who: str = "ann") -> list[int]:
    """Label so many texts as they come, and learn after every 20 and at the end; their numbers."""
    done = []
    for number in range(1, n + 1):
        text = learning.next(who)
        assert text is not None
        learning.label(who, text.id, answers[text.text])
        done.append(text.id)
        if number % 20 == 0 or number == n:
            learning.learn()
    return done

"""German reviews, generated from a few words; they say nothing of real texts.

Adjectives that are not negated have other endings in test texts than in train texts, so a model
needs character n-grams; some opinions are negated, so it needs the negators of German.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np

_GOOD: Final = ["großartig", "köstlich", "gemütlich", "freundlich", "spannend", "hübsch"]
_BAD: Final = ["schrecklich", "langweilig", "kaputt", "ärgerlich", "überteuert", "schmutzig"]
_THINGS: Final = ["Film", "Koffer", "Abend", "Kellner", "Drucker", "Roman"]
_FACTS: Final = (
    "Am 3. Mai waren wir z. B. zu zweit dort.",
    "Das Paket kam am Montag.",
    "Wir haben es im Laden gesehen und dann bestellt.",
    "Meine Schwester hat ihn auch.",
)
TRAIN_ENDINGS: Final = ("", "e", "er")
TEST_ENDINGS: Final = ("en", "es", "em")


def review(positive: bool, endings: tuple[str, ...], draw: np.random.Generator) -> str:
    """An opinion, in a third of the texts a negated one, and facts; hardly any text twice."""
    negated = draw.random() < 1 / 3
    word = draw.choice(_GOOD if positive != negated else _BAD)
    word += draw.choice(TRAIN_ENDINGS if negated else endings)
    sentences = [
        draw.choice(_FACTS),
        f"Bestellung {draw.integers(100_000)}.",
        f"{draw.choice(_THINGS)}: {'nie war er so ganz und gar' if negated else 'er war'} {word}.",
    ]
    draw.shuffle(sentences)
    return " ".join(sentences)


def reviews(n: int, endings: tuple[str, ...], seed: int) -> tuple[list[str], list[bool]]:
    """`n` reviews, and whether each is positive."""
    draw = np.random.default_rng(seed)
    labels = [bool(draw.integers(2)) for _ in range(n)]
    return [review(label, endings, draw) for label in labels], labels


def write(path: Path, n: int, seed: int) -> None:
    """A labelled CSV file of train texts."""
    texts, labels = reviews(n, TRAIN_ENDINGS, seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(
            zip(texts, ("gut" if good else "schlecht" for good in labels), strict=True)
        )

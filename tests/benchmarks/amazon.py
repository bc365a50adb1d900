"""A CSV as large as all of Amazon Fine Food Reviews, from the rows at hand.

``python -m tests.benchmarks.amazon RAW_FOLDER TARGET ROWS``
"""

from __future__ import annotations

import csv
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ALL_ROWS: Final = 568_454

_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")
_SEED: Final = 568_454
# The sentences of films come in for their n-grams: those of the Amazon rows at hand alone have
# fewer different ones than half a million reviews do.
_SHARE_OF_FILMS: Final = 0.4
# So that the labels are about as hard to learn as the real ones.
_SHARE_OF_ANY: Final = 0.25
_FILM_SCORES: Final = {"negative": "1", "positive": "5"}


def main() -> None:
    """Write ROWS rows with the columns of the real file to TARGET."""
    raw, target, rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    reviews = list(_read(raw / "Amazon Food Reviews" / "Reviews.csv"))
    films = _film_sentences(raw / "IMDB Dataset" / "IMDB Dataset.csv")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(reviews[0]))
        writer.writeheader()
        writer.writerows(recombined(reviews, films, rows))


def recombined(
    reviews: list[dict[str, str]], films: dict[str, list[str]], rows: int
) -> Iterator[dict[str, str]]:
    """`rows` rows: each a real one whose sentences are others, most of the same score.

    The same rows on every machine.
    """
    chance = random.Random(_SEED)
    by_score: dict[str, list[str]] = {}
    lengths = []
    for review in reviews:
        sentences = _SENTENCE_END.split(review["Text"])
        lengths.append(len(sentences))
        by_score.setdefault(review["Score"], []).extend(sentences)
    scores = sorted(by_score)
    for number in range(1, rows + 1):
        picked = chance.randrange(len(reviews))
        score = reviews[picked]["Score"]
        sentences = []
        for _ in range(lengths[picked]):
            like = chance.choice(scores) if chance.random() < _SHARE_OF_ANY else score
            films_too = films["1" if like in {"1", "2"} else "5"]
            pool = films_too if chance.random() < _SHARE_OF_FILMS else by_score[like]
            sentences.append(chance.choice(pool))
        yield {**reviews[picked], "Id": str(number), "Text": " ".join(sentences)}


def _film_sentences(path: Path) -> dict[str, list[str]]:
    sentences: dict[str, list[str]] = {"1": [], "5": []}
    for row in _read(path):
        sentences[_FILM_SCORES[row["sentiment"]]].extend(_SENTENCE_END.split(row["review"]))
    return sentences


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    main()

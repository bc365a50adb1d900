from __future__ import annotations

import random

from pipelines.labelling.near_duplicates import near_duplicate_groups
from pipelines.text.vectorizer import HashedNgramVectorizer


def groups(texts: list[str]) -> list[int]:
    return near_duplicate_groups(HashedNgramVectorizer().transform(texts), seed=0).tolist()


def test_texts_that_are_nearly_the_same_are_a_group() -> None:
    draw = random.Random(0)
    texts = [" ".join(f"w{draw.randrange(500)}" for _ in range(60)) for _ in range(300)]
    changed = [f"{text} indeed" for text in texts[:50]]
    found = groups(["", *texts, *changed, "", "!"])

    assert found[1:51] == found[301:351]
    # No two others, blank texts neither.
    assert len(set(found)) == 303


def test_a_few_shared_words_are_not_enough() -> None:
    found = groups(["the film was good", "the film was not good", "the film was good", "the film"])
    assert found[0] == found[2]
    assert len(set(found)) == 3

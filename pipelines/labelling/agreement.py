"""What counts as the label of a text that several people have labelled, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import msgspec

from pipelines.labelling.store import Label, Settlement


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far two people agree on the texts that both have labelled."""

    annotators: tuple[str, str]
    texts: int
    """That both have labelled."""
    same: int
    kappa: float | None
    """Cohen's (1960): 1 is perfect, 0 what chance gives; None: both gave one label only."""


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """A text with different labels."""

    text: int
    answers: dict[str, str]
    """By annotator."""
    notes: dict[str, str]
    settled: str | None
    """What was decided."""


def verdicts(labels: Sequence[Label], settlements: Sequence[Settlement]) -> dict[int, str]:
    """The label that counts, by text: what was decided, else what all have said.

    Texts on which people disagree have none.
    """
    decided = {each.text: each.answer for each in settlements}
    agreed = {text: given.pop() for text, given in _answers(labels).items() if len(given) == 1}
    return agreed | decided


def disputes(labels: Sequence[Label], settlements: Sequence[Settlement]) -> list[Dispute]:
    """The texts on which people disagree, those to be decided first."""
    decided = {each.text: each.answer for each in settlements}
    found = []
    for text, answers in _answers(labels).items():
        if len(answers) == 1:
            continue
        given = [each for each in labels if each.text == text and each.answer is not None]
        found.append(
            Dispute(
                text=text,
                answers={each.annotator: str(each.answer) for each in given},
                notes={each.annotator: each.note for each in given if each.note},
                settled=decided.get(text),
            )
        )
    return sorted(found, key=lambda each: each.settled is not None)


def agreements(labels: Sequence[Label]) -> list[Agreement]:
    """Of each two people who have labelled the same texts."""
    given: dict[str, dict[int, str]] = {}
    for each in labels:
        if each.answer is not None:
            given.setdefault(each.annotator, {})[each.text] = each.answer
    return [
        _agreement((one, other), given[one], given[other])
        for one, other in combinations(sorted(given), 2)
        if given[one].keys() & given[other].keys()
    ]


def _agreement(
    annotators: tuple[str, str], one: dict[int, str], other: dict[int, str]
) -> Agreement:
    from sklearn.metrics import cohen_kappa_score

    texts = sorted(one.keys() & other.keys())
    first, second = [one[text] for text in texts], [other[text] for text in texts]
    several = len({*first, *second}) > 1
    return Agreement(
        annotators=annotators,
        texts=len(texts),
        same=sum(a == b for a, b in zip(first, second, strict=True)),
        kappa=float(cohen_kappa_score(first, second)) if several else None,
    )


def _answers(labels: Sequence[Label]) -> dict[int, set[str]]:
    """The different answers by text; skipped ones have none."""
    found: dict[int, set[str]] = {}
    for each in labels:
        if each.answer is not None:
            found.setdefault(each.text, set()).add(each.answer)
    return found

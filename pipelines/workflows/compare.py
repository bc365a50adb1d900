"""Two models on the same labelled texts: which is better, by how much, and where they disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import InputError
from pipelines.labels import Classes
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from pipelines.training.evaluation import Metrics
    from pipelines.workflows.open_model import OpenedModel

MOST_DISAGREEMENTS: Final = 50
_SHOWN: Final = 400
"""Characters of a text."""
_WARM_UP: Final = 100
"""Texts that are predicted before the time is taken."""
_Z: Final = 1.959964
"""Of a 95 % interval."""


class SliceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Candidate and champion on the same texts.

    Attributes
    ----------
    n : int
        Number of texts.
    candidate, champion : Metrics
    gained, lost : int
        Texts that only the candidate judges as labelled, and that only the champion does.
    difference, low, high : float
        Accuracy of the candidate less that of the champion, with its 95 % interval (see
        `paired_difference`).
    p_value : float
        Of McNemar's exact test that neither is better.
    """

    n: int
    candidate: Metrics
    champion: Metrics
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p_value: float


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """A text on which the models give different answers."""

    slice: str
    text: str
    label: str
    candidate: str
    champion: str
    candidate_confidence: float
    champion_confidence: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two models by slice.

    Attributes
    ----------
    candidate, champion : str
        Their IDs.
    slices : dict of SliceComparison
    disagreements : list of Disagreement
        The first of each slice; those on which the two are surest come first.
    candidate_speed, champion_speed : float
        Texts a second, on this machine.
    candidate_size, champion_size : int
        Bytes of their files.
    """

    candidate: str
    champion: str
    slices: dict[str, SliceComparison]
    disagreements: list[Disagreement]
    candidate_speed: float
    champion_speed: float
    candidate_size: int
    champion_size: int


def compare(
    candidate: OpenedModel, champion: OpenedModel, slices: Mapping[str, pl.DataFrame]
) -> Comparison:
    """Compare two models on labelled texts.

    Parameters
    ----------
    candidate, champion : OpenedModel
    slices : mapping of str to DataFrame
        By name, with the columns `text` (String) and `label` (the number of the class).

    Raises
    ------
    DataError
        If a slice holds no text.
    InputError
        If the models have different classes.
    """
    classes = shared_classes(candidate, champion)
    found, disagreements, seconds = {}, [], [0.0, 0.0]
    for name, frame in slices.items():
        texts, judged = frame["text"].to_list(), []
        for at, model in enumerate((candidate, champion)):
            model.scorer.predict(texts[:_WARM_UP])
            start = perf_counter()
            judged.append(model.scorer.predict(texts)[1])
            seconds[at] += perf_counter() - start
        found[name] = _compare_slice(frame, judged[0], judged[1], classes)
        disagreements += _disagreements(name, frame, judged[0], judged[1], classes)
    texts_judged = sum(frame.height for frame in slices.values())
    return Comparison(
        candidate=candidate.id,
        champion=champion.id,
        slices=found,
        disagreements=disagreements,
        candidate_speed=texts_judged / seconds[0],
        champion_speed=texts_judged / seconds[1],
        candidate_size=candidate.size,
        champion_size=champion.size,
    )


def shared_classes(candidate: OpenedModel, champion: OpenedModel) -> Classes:
    """The classes of both models.

    Raises
    ------
    InputError
        If they are not the same.
    """
    classes, others = candidate.scorer.classes, champion.scorer.classes
    if classes.names != others.names:
        raise InputError(
            f"{candidate.id} has the classes {', '.join(classes.names)}, {champion.id} has "
            f"{', '.join(others.names)}. Models of the same classes can be compared; for others, "
            "see: olens evaluate"
        )
    return classes


def paired_difference(gained: int, lost: int, n: int) -> tuple[float, float, float]:
    """The difference of two accuracies on the same `n` texts, with its 95 % interval.

    Agresti and Min (2005): Simple improved confidence intervals for comparing matched
    proportions. Statistics in Medicine 24. Half a text is added to each of the four counts.
    """
    size, apart = n + 2, gained - lost
    spread = math.sqrt(gained + lost + 1 - apart**2 / size) / size
    middle = apart / size
    difference = apart / n
    low, high = middle - _Z * spread, middle + _Z * spread
    return difference, min(low, difference), max(high, difference)


def _compare_slice(
    frame: pl.DataFrame,
    candidate: NDArray[np.float64],
    champion: NDArray[np.float64],
    classes: Classes,
) -> SliceComparison:
    from scipy.stats import binomtest

    from pipelines.training.evaluation import evaluate

    labels = frame["label"].to_numpy()
    right, before = (classes.predicted(found) == labels for found in (candidate, champion))
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    difference, low, high = paired_difference(gained, lost, len(labels))
    return SliceComparison(
        n=len(labels),
        candidate=evaluate(labels, candidate, classes),
        champion=evaluate(labels, champion, classes),
        gained=gained,
        lost=lost,
        difference=difference,
        low=low,
        high=high,
        p_value=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
    )


def _disagreements(
    name: str,
    frame: pl.DataFrame,
    candidate: NDArray[np.float64],
    champion: NDArray[np.float64],
    classes: Classes,
) -> list[Disagreement]:
    answers = classes.answers(candidate), classes.answers(champion)
    each = classes.each(candidate), classes.each(champion)
    apart = abs(each[0] - each[1]).max(axis=1)
    differing = [at for at, pair in enumerate(zip(*answers, strict=True)) if len(set(pair)) > 1]
    differing.sort(key=lambda at: -apart[at])
    texts, labels = frame["text"], frame["label"]
    return [
        Disagreement(
            slice=name,
            text=in_one_line(texts[at], _SHOWN),
            label=classes.names[labels[at]],
            candidate=answers[0][at],
            champion=answers[1][at],
            candidate_confidence=float(each[0][at].max()),
            champion_confidence=float(each[1][at].max()),
        )
        for at in differing[:MOST_DISAGREEMENTS]
    ]

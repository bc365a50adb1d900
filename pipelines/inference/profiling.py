"""Profiles of texts as a model judges them: see `pipelines.training.text_profile`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from pipelines.inference.evidence import Judgement
from pipelines.inference.scorer import Scorer
from pipelines.training.text_profile import FEATURES, MOST_TEXTS, Columns, TextProfile

if TYPE_CHECKING:
    import polars as pl
    from sklearn.pipeline import Pipeline

_EVIDENCE: Final = {"none": 0, "weak": 1, "clear": 2}


def columns_of(judged: Sequence[Judgement], classes: Sequence[str]) -> Columns:
    """The features of judged texts as numbers; a `known` that is not known is -1.

    `classes` are the names of the model's classes, in their order.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    rows = [
        (
            found.words,
            -1.0 if found.known is None else found.known,
            _EVIDENCE[found.evidence],
            found.probability,
            numbers[found.prediction],
        )
        for found in judged
    ]
    return dict(
        zip(FEATURES, np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES)).T, strict=True)
    )


def profile_judged(
    datasets: Mapping[str, Sequence[Judgement]], classes: Sequence[str]
) -> TextProfile:
    """The profile of judged texts by their data set."""
    columns = {name: columns_of(judged, classes) for name, judged in datasets.items()}
    edges = {"evidence": [1.0, 2.0], "prediction": [float(n) for n in range(1, len(classes))]}
    return TextProfile.of(columns, edges)


def profile_texts(scorer: Scorer, texts: pl.DataFrame) -> TextProfile:
    """The profile of texts, with the columns `text` and `dataset`, by data set.

    Of a large data set, texts at even distances are judged.
    """
    parts = {
        part["dataset"][0]: part["text"].gather_every(-(-part.height // MOST_TEXTS)).to_list()
        for part in texts.partition_by("dataset", maintain_order=True)
    }
    judged = {name: scorer.judge(each) for name, each in parts.items()}
    return profile_judged(judged, scorer.classes.names)


def profile_pipeline(pipeline: Pipeline, texts: pl.DataFrame) -> TextProfile:
    """The same for the scorer that will serve the fitted `pipeline`."""
    from pipelines.inference.compiling import fuse
    from pipelines.inference.pipeline_scorer import PipelineScorer

    return profile_texts(fuse(pipeline) or PipelineScorer(pipeline), texts)

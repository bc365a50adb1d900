"""A folder of the model cache, or the base model's -> the scorer of its model."""

from __future__ import annotations

from pathlib import Path

from pipelines.inference.linear import TABLE_FILE, LinearScorer
from pipelines.inference.packing import PACKED_FILE, unpack
from pipelines.inference.pipeline import PipelineScorer
from pipelines.inference.scorer import Scorer
from pipelines.registry.entries import MODEL


def load_scorer(entry: Path) -> Scorer:
    """Open the cache entry, or the base model, in folder `entry`.

    For a linear model this maps its weight table into memory and imports neither MLflow nor
    scikit-learn.

    Raises
    ------
    ModelError
        If the entry cannot be used; the message says why.
    """
    table = entry / TABLE_FILE
    if table.is_file():
        return LinearScorer.open(table)
    packed = entry / PACKED_FILE
    if packed.is_file():
        return unpack(packed)
    # Not needed, and so not imported, for linear models.
    from pipelines.training.persistence import load_pipeline

    return PipelineScorer(load_pipeline(entry / MODEL))

"""A folder of the model cache, the base model's or a logged one's -> the scorer of its model."""

from __future__ import annotations

from pathlib import Path

from pipelines.cache.entries import MODEL
from pipelines.inference.linear_scorer import TABLE_FILE, LinearScorer
from pipelines.inference.packing import PACKED_FILE, unpack
from pipelines.inference.pipeline_scorer import PipelineScorer
from pipelines.inference.scorer import Scorer
from pipelines.training.text_profile import TextProfile, read_profile


def load_copy(entry: Path) -> Scorer:
    """As `load_scorer`, but what becomes of the files afterwards does not matter.

    A process that reads a mapped file which was truncated is killed by the kernel.
    """
    return load_scorer(entry, mapped=False)


def load_scorer(entry: Path, *, mapped: bool = True) -> Scorer:
    """Open the cache entry, or the base model, in folder `entry`.

    For a linear model this maps its weight table into memory, or reads it, and imports neither
    MLflow nor scikit-learn.

    Raises
    ------
    ModelError
        If the entry cannot be used; the message says why.
    """
    table = entry / TABLE_FILE
    if table.is_file():
        return LinearScorer.open(table, mapped=mapped)
    packed = entry / PACKED_FILE
    if packed.is_file():
        return unpack(packed)
    # Not needed, and so not imported, for linear models.
    from pipelines.training.persistence import load_pipeline

    return PipelineScorer(load_pipeline(entry / MODEL))


def load_logged(folder: Path) -> Scorer:
    """The scorer of the logged model in `folder`, held in memory.

    Raises
    ------
    ModelError
        As `pipelines.training.persistence.load_pipeline`.
    """
    from pipelines.inference.compiling import fuse
    from pipelines.training.persistence import load_pipeline

    pipeline = load_pipeline(folder)
    return fuse(pipeline) or PipelineScorer(pipeline)


def load_profile(entry: Path) -> TextProfile | None:
    """What the texts of the cache entry, or of the base model, in folder `entry` look like to it.

    None if the model was made before there were profiles.
    """
    return read_profile(entry / MODEL) or read_profile(entry)

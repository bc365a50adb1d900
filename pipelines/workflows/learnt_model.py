"""A model that has learnt from a person's labels: its figures, and its run with model and card."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.files import temporary_folder
from pipelines.labels import Classes
from pipelines.registry.tracking import Tracker, git_commit
from pipelines.text.languages import LANGUAGE_TAG
from pipelines.training.adaptation import Kind
from pipelines.training.evaluation import Metrics, evaluate, wilson_interval
from pipelines.training.model_card import (
    CardFacts,
    DataFacts,
    Parameter,
    library_versions,
    model_card,
)
from pipelines.training.persistence import EXAMPLE, save_model
from pipelines.training.runs import flattened
from pipelines.training.text_profile import TextProfile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sklearn.pipeline import Pipeline

    from pipelines.config.settings import Settings
    from pipelines.inference.linear_scorer import LinearScorer

_SUBJECT: Final = "nbsvm"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How good one of the compared models is on held-out texts."""

    metrics: Metrics
    low: float
    high: float
    """95 % interval of the accuracy (Wilson 1927)."""


def figures_of(
    labels: NDArray[np.int8], probability: NDArray[np.float64], classes: Classes
) -> Figures:
    """The figures of probabilities against labels, with the interval of the accuracy."""
    metrics = evaluate(labels, probability, classes)
    low, high = wilson_interval(np.array([metrics.accuracy]), np.array([metrics.n]))
    return Figures(metrics=metrics, low=float(low[0]), high=float(high[0]))


def log_learnt(
    settings: Settings,
    run_name: str,
    source: str,
    start: str,
    scorer: LinearScorer,
    pipeline: Pipeline,
    parameters: Mapping[str, Parameter],
    data: DataFacts,
    figures: Mapping[Kind, Figures],
    profile: TextProfile,
) -> str:
    """Log a model with its card and figures; returns its ID.

    Parameters
    ----------
    settings : Settings
    run_name : str
    source : str
        What it is, for the tag ``subject``: ``adapted`` or ``labelled``.
    start : str
        The model that it starts from; empty: none.
    scorer, pipeline : LinearScorer, Pipeline
        The model in both forms.
    parameters : mapping
        How it was learnt.
    data : DataFacts
    figures : mapping
        Its own, of kind ``adapted`` or, without a start, ``scratch``; and of what it is compared
        with.
    profile : TextProfile
        Of texts that it has not seen.
    """
    own: Kind = "adapted" if start else "scratch"
    names = {"start": start, "scratch": "from scratch"}
    metrics: dict[str, Metrics] = {"test": figures[own].metrics}
    subject = f"adapted from {start}" if start else _SUBJECT
    tags = {
        "subject": source,
        "start": start,
        LANGUAGE_TAG: scorer.language,
        f"data.{data.name}.sha256": data.sha256,
        **scorer.classes.tags,
    }
    vectorizer: dict[str, Parameter] = {
        "ngram_max": scorer.info.ngram_max,
        "char_max": scorer.info.char_max,
        "bits": scorer.info.bits,
        "language": scorer.language,
    }
    learnt = {"from": start or None, **parameters}
    with (
        Tracker.open(settings).run(run_name, tags) as run,
        temporary_folder("olens-model-") as temporary,
    ):
        run.log_params({**learnt, **vectorizer})
        run.log_metrics(flattened(metrics))
        card = model_card(
            CardFacts(
                subject=subject,
                parameters=learnt,
                vectorizer=vectorizer,
                data=[data],
                metrics=metrics,
                classes=scorer.classes,
                language=scorer.language,
                baselines={
                    names[kind]: each.metrics for kind, each in figures.items() if kind != own
                },
                created=datetime.now(UTC),
                run_id=run.id,
                commit=git_commit(),
                versions=library_versions(),
            )
        )
        folder = temporary / "model"
        save_model(pipeline, folder, card, metrics, EXAMPLE, profile)
        return run.log_model(folder, {"subject": subject, **parameters}, flattened(metrics), tags)

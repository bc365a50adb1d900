"""`olens labels train`: a model of what people have labelled.

It learns from all labels but those of the texts drawn at random, on which it is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import InputError, TrainingError
from pipelines.files import sha256_of
from pipelines.inference.profiling import profile_judged
from pipelines.labelling.learning import fit
from pipelines.training.adaptation import Kind, scratch_plans
from pipelines.training.model_card import DataFacts
from pipelines.training.text_profile import MOST_TEXTS
from pipelines.workflows.fetch import fetch_model
from pipelines.workflows.label import Labelling
from pipelines.workflows.learnt_model import Figures, figures_of, log_learnt
from pipelines.workflows.register import check_new_name, register

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.inference.linear_scorer import LinearScorer

_FEW: Final = 100

OnStage = Callable[[str], None]


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What `train_on_labels` came to."""

    start: str
    """The model it started from; empty: none."""
    texts: int
    """Labelled texts that it has learnt from."""
    held_out: str
    """Which texts the figures are about, in words."""
    figures: dict[Kind, Figures]
    """Of the start, a model from scratch, and the start plus the labels; where there is no start,
    from scratch only."""
    learnt: Kind
    model_id: str
    cached_id: str | None
    """In the model cache, if it was registered."""
    messages: list[str]
    warnings: list[str]
    seconds: float


def train_on_labels(
    settings: Settings,
    project: str,
    name: str | None = None,
    alias: str | None = None,
    activate: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> Trained:
    """Make a model of the labels of a project: log it, and register and cache it.

    Parameters
    ----------
    settings : Settings
    project : str
    name : str, optional
        Registered model that gets a new version. None: the model is only logged.
    alias : str, optional
        Alias that points to the new version.
    activate : bool
        Whether it answers from now on.
    on_stage : callable, optional
        Told what is being done now.

    Raises
    ------
    InputError
        If there is no such project, or the name or alias is not allowed.
    TrainingError
        If there are too few labels.
    """
    started = time.monotonic()
    if name is None and (alias or activate):
        raise InputError("Give the model a name: --model NAME")
    if name is not None:
        check_new_name(name, alias)
    on_stage("reading labels")
    labelling = Labelling(settings)
    learning = labelling.open(project)
    start, classes = learning.start, learning.classes
    texts, labels = learning.lesson()
    tested, truth = learning.tested()
    on_stage("learning")
    fitted = fit(texts, labels, classes, start)
    if not tested:
        raise TrainingError("None of the texts drawn at random has a label yet. Label some more.")
    on_stage("comparing")
    models: dict[Kind, LinearScorer] = {"scratch": fitted.scorer}
    if start is not None:
        from_scratch = scratch_plans(len(classes.names), labels.size)
        scratch = fit(texts, labels, classes, start, from_scratch).scorer
        models = {"start": start, "scratch": scratch, "adapted": fitted.scorer}
    probabilities = {kind: scorer.predict(tested)[1] for kind, scorer in models.items()}
    figures = {kind: figures_of(truth, found, classes) for kind, found in probabilities.items()}
    on_stage("logging the model")
    facts = DataFacts(
        name=project,
        source=f"labels of {project}",
        sha256=sha256_of(labelling.export(project, "csv")),
        rows=labels.size + truth.size,
        train=labels.size,
        val=0,
        test=truth.size,
        synthetic=False,
    )
    start_id = learning.project.start
    unseen = [text.text for text in learning.texts.values() if text.test][:MOST_TEXTS]
    profile = profile_judged({project: fitted.scorer.judge(unseen)}, classes.names)
    model_id = log_learnt(
        settings,
        f"labels of {project}",
        "labelled",
        start_id,
        fitted.scorer,
        fitted.pipeline,
        fitted.parameters,
        facts,
        figures,
        profile,
    )
    cached_id = None
    if name is not None:
        on_stage("registering the model")
        version = register(settings, name, model_id, alias)
        cached_id = fetch_model(settings, name, version.version, activate=activate).id
    few = "The interval is wide: label more, and it narrows." if len(tested) < _FEW else ""
    return Trained(
        start=start_id,
        texts=len(texts),
        held_out=f"{len(tested):,} texts drawn at random, which it has not learnt from",
        figures=figures,
        learnt=fitted.kind,
        model_id=model_id,
        cached_id=cached_id,
        messages=[few] if few else [],
        warnings=[],
        seconds=time.monotonic() - started,
    )

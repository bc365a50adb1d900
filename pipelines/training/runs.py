"""Runs: `olens train`, and the last part of `olens tune`, from data to a logged model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from pipelines.datasets.loading import load_report, load_slices, load_split
from pipelines.datasets.splitting import SplitName
from pipelines.params import Params, Vectorizer
from pipelines.settings import Settings
from pipelines.training.evaluation import Metrics, evaluate, evaluate_slices
from pipelines.training.features import Labelled, load_counts
from pipelines.training.figures import (
    calibration,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
    save_figures,
    slice_accuracy,
)
from pipelines.training.fitting import fit_pipeline, flat, probabilities
from pipelines.training.model_card import CardFacts, DataFacts, library_versions, model_card
from pipelines.training.persistence import save_model
from pipelines.training.reports import read_baselines
from pipelines.training.subjects import Parameters, Subject, Value, get_subject
from pipelines.training.tracking import Run, Tracker, git_commit

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

TEST: Final = "test"

OnStage = Callable[[str], None]
"""Told what is being done now, for people who wait."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be trained on what."""

    settings: Settings
    params: Params
    subject: Subject
    datasets: list[str]

    @classmethod
    def of(
        cls,
        settings: Settings,
        params: Params,
        subject: str,
        datasets: Sequence[str] | None = None,
    ) -> Job:
        """The job for a subject's name and data sets, by default all that are declared."""
        names = list(datasets or params.datasets)
        return cls(settings=settings, params=params, subject=get_subject(subject), datasets=names)

    @property
    def vectorizer(self) -> Vectorizer:
        """The feature space: the subject's own, else that of ``conf/params.yaml``."""
        return self.subject.vectorizer or self.params.vectorizer

    def counts(self, split: SplitName) -> Labelled:
        """Counts and labels of one split."""
        return load_counts(self.settings, self.params, split, self.datasets, self.vectorizer)

    def tags(self) -> dict[str, str]:
        """Tags of a run: subject, data sets and their SHA-256."""
        hashes = {
            f"data.{name}.sha256": load_report(self.settings, name).sha256 for name in self.datasets
        }
        return {"subject": self.subject.name, "datasets": ", ".join(self.datasets), **hashes}


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    run_id: str
    subject: str
    parameters: dict[str, Value]
    datasets: list[str]
    validation: Metrics | None
    test: dict[str, Metrics] = {}
    """By slice; `test` is the whole test split. Empty when no model was logged."""
    model_id: str | None = None
    seconds: float


def train(
    settings: Settings,
    params: Params,
    subject: str,
    given: Parameters,
    datasets: Sequence[str] | None = None,
    log_model: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> RunResult:
    """Train one model with parameters given by hand, on the train splits.

    Validation metrics and figures go to the run. With `log_model` the model is fitted again on
    train and validation texts, looked at on the test slices and logged.

    Raises
    ------
    TrainingError
        For an unknown subject or parameter, or data it cannot be fitted on.
    DataError
        If the data are not prepared.
    """
    started = time.monotonic()
    job = Job.of(settings, params, subject, datasets)
    parameters = job.subject.parameters(given)
    on_stage("reading features")
    if log_model:
        check_test_data(job)
    train_data, val_data = job.counts("train"), job.counts("val")
    tracker = Tracker.open(settings)
    with tracker.run(f"train {job.subject.name}", job.tags()) as run:
        run.log_params(flat(parameters, job.vectorizer))
        on_stage(f"fitting {job.subject.name}")
        pipeline = fit_pipeline(job.subject, parameters, params.seed, job.vectorizer, train_data)
        probability = probabilities(pipeline, val_data)
        validation = evaluate(val_data.labels, probability)
        run.log_metrics(validation.to_flat("val"))
        log_figures(run, _figures(val_data.labels, probability), "figures/val")
        model_id: str | None = None
        test: dict[str, Metrics] = {}
        if log_model:
            del pipeline, train_data, val_data
            model_id, test = finish(job, run, parameters, on_stage)
    return RunResult(
        run_id=run.id,
        subject=job.subject.name,
        parameters=parameters,
        datasets=job.datasets,
        validation=validation,
        test=test,
        model_id=model_id,
        seconds=time.monotonic() - started,
    )


def check_test_data(job: Job) -> None:
    """Raise DataError now if `finish` would find no test texts, after hours perhaps."""
    test_slices(job.settings, load_split(job.settings, job.params, "test", job.datasets))


def finish(
    job: Job, run: Run, parameters: Mapping[str, Value], on_stage: OnStage
) -> tuple[str, dict[str, Metrics]]:
    """Fit on train and validation texts, look at the test slices, log everything.

    Returns the ID of the logged model and its metrics by slice.
    """
    on_stage(f"fitting {job.subject.name} on train and validation texts")
    data = _both(job.counts("train"), job.counts("val"))
    pipeline = fit_pipeline(job.subject, parameters, job.params.seed, job.vectorizer, data)
    del data
    on_stage("looking at the test split")
    test = load_split(job.settings, job.params, "test", job.datasets)
    metrics = evaluate_on(pipeline, test_slices(job.settings, test))
    on_stage("logging the model")
    log_figures(run, test_figures(pipeline, test, metrics), "figures/test")
    names = flattened(metrics)
    run.log_metrics(names)
    card = model_card(_card_facts(job, run, parameters, metrics))
    with tempfile.TemporaryDirectory(prefix="olens-model-") as temporary:
        folder = Path(temporary) / "model"
        save_model(pipeline, folder, card, metrics, example=_EXAMPLE)
        all_params = {"subject": job.subject.name, **flat(parameters, job.vectorizer)}
        model_id = run.log_model(folder, all_params, names, job.tags())
    return model_id, metrics


def evaluate_on(pipeline: Pipeline, slices: Mapping[str, pl.DataFrame]) -> dict[str, Metrics]:
    """Metrics of a fitted pipeline by slice."""
    return evaluate_slices(slices, lambda texts: pipeline.predict_proba(texts)[:, 1])


def test_slices(settings: Settings, test: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The whole test split as `test`, then its slices, as far as they are of its data sets."""
    datasets = test["dataset"].unique().to_list()
    slices = {
        name: frame.filter(pl.col("dataset").is_in(datasets))
        for name, frame in load_slices(settings).items()
    }
    return {TEST: test, **slices}


def flattened(metrics: Mapping[str, Metrics]) -> dict[str, float]:
    """Metrics of all slices under names such as ``test.accuracy`` and ``slices.short.f1``."""
    flat_metrics: dict[str, float] = {}
    for name, found in metrics.items():
        flat_metrics |= found.to_flat(TEST if name == TEST else f"slices.{name}")
    return flat_metrics


def test_figures(
    pipeline: Pipeline, test: pl.DataFrame, metrics: Mapping[str, Metrics]
) -> dict[str, Figure]:
    """The figures of a fitted pipeline on the test split."""
    probability = pipeline.predict_proba(test["text"].to_list())[:, 1]
    figures = _figures(test["label"].to_numpy(), probability)
    return {**figures, "slices": slice_accuracy(metrics)}


def log_figures(run: Run, figures: Mapping[str, Figure], artifact_path: str) -> None:
    """Keep figures as PNG artifacts of the run."""
    with tempfile.TemporaryDirectory(prefix="olens-figures-") as temporary:
        save_figures(figures, Path(temporary))
        run.log_files(Path(temporary), artifact_path)


# Text of our own: a logged model shows its input example to everybody.
_EXAMPLE: Final = ["A quiet, lovely film.", "The battery died after two days."]


def _figures(labels: NDArray[np.int8], probability: NDArray[np.float64]) -> dict[str, Figure]:
    return {
        "confusion_matrix": confusion_matrix(labels, probability),
        "roc": roc_curve(labels, probability),
        "precision_recall": precision_recall_curve(labels, probability),
        "calibration": calibration(labels, probability),
    }


def _both(first: Labelled, second: Labelled) -> Labelled:
    import numpy as np
    import scipy.sparse as sp

    counts = sp.vstack([first.counts, second.counts], format="csr")
    return Labelled(counts, np.concatenate([first.labels, second.labels]))


def _card_facts(
    job: Job, run: Run, parameters: Mapping[str, Value], metrics: dict[str, Metrics]
) -> CardFacts:
    return CardFacts(
        subject=job.subject.name,
        parameters=dict(parameters),
        vectorizer=msgspec.structs.asdict(job.vectorizer),
        data=[DataFacts.from_report(load_report(job.settings, name)) for name in job.datasets],
        metrics=metrics,
        baselines=read_baselines(job.settings, job.datasets),
        created=datetime.now(UTC),
        run_id=run.id,
        commit=git_commit(),
        versions=library_versions(),
    )

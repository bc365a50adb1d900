"""Runs: `olens train`, and the last part of `olens tune`, from data to a logged model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.config.params import Language, Params, Vectorizer
from pipelines.config.settings import Settings
from pipelines.datasets.found_language import in_language
from pipelines.datasets.loading import load_report, load_slices, load_split
from pipelines.datasets.splitting import SplitName
from pipelines.errors import TrainingError
from pipelines.files import fingerprint, temporary_folder
from pipelines.labels import Classes
from pipelines.ray_cluster import EngineName
from pipelines.registry.tracking import DatasetInput, Run, Tracker, git_commit
from pipelines.text.languages import LANGUAGE_TAG, LANGUAGES
from pipelines.training.adaptation import Kind
from pipelines.training.evaluation import Metrics, Predict, evaluate, evaluate_slices
from pipelines.training.features import Labelled, load_counts
from pipelines.training.figures import (
    calibration,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
    save_figures,
    slice_accuracy,
)
from pipelines.training.fitting import fit_pipeline, for_workers, probabilities
from pipelines.training.model_card import CardFacts, DataFacts, library_versions, model_card
from pipelines.training.persistence import EXAMPLE, save_model
from pipelines.training.reports import read_baselines
from pipelines.training.spreading import Workers, ray_workers
from pipelines.training.starting import Start, kind_of, starting_from
from pipelines.training.stopping import Stop
from pipelines.training.subjects import Parameters, Subject, Value, get_subject
from pipelines.training.text_profile import TextProfile

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

TEST: Final = "test"
STOPPING: Final = "stopping when this step ends; Ctrl-C once more ends at once"

OnStage = Callable[[str], None]
"""Told what is being done now, for people who wait."""

Profiler = Callable[["Pipeline", "pl.DataFrame"], TextProfile]
"""Makes the profile of texts, as `pipelines.inference.profiling.profile_pipeline` does."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be trained on what."""

    settings: Settings
    params: Params
    subject: Subject
    datasets: list[str]
    start: Start | None = None
    """The model to start from; None: from scratch."""
    profile: Profiler | None = None
    """None: the model that is logged does not say what texts it is for."""
    workers: Workers | None = None
    """Of a cluster, over which the rows are spread; None: this process does all."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        params: Params,
        subject: str,
        datasets: Sequence[str] | None = None,
        start: Start | None = None,
        profile: Profiler | None = None,
    ) -> Job:
        """The job for a subject's name and data sets, by default all that are declared.

        Raises
        ------
        DataError
            If ``language: auto`` does not find the language of the texts.
        TrainingError
            For an unknown subject, or a start in another language or of other classes.
        """
        params = in_language(settings, params, datasets)
        if start and start.vectorizer.language != params.language:
            raise TrainingError(
                f"{start.name} is for texts in {LANGUAGES[start.vectorizer.language].name}, and "
                f"conf/params.yaml says language: {params.language}. Leave --from out, or start "
                "from a model in that language"
            )
        names = list(datasets or params.datasets)
        classes = params.classes(names)
        if start:
            start.check_classes(classes)
        found = starting_from(start, subject) if start else get_subject(subject)
        return cls(
            settings=settings,
            params=params,
            subject=found.for_classes(len(classes.names)),
            datasets=names,
            start=start,
            profile=profile,
        )

    @property
    def vectorizer(self) -> Vectorizer:
        """The feature space: the subject's own, else that of ``conf/params.yaml``."""
        return msgspec.structs.replace(
            self.subject.vectorizer or self.params.vectorizer,
            language=self.params.vectorizer.language,
        )

    @property
    def classes(self) -> Classes:
        """The classes of the data sets together."""
        return self.params.classes(self.datasets)

    def counts(self, split: SplitName) -> Labelled:
        """Counts and labels of one split."""
        return load_counts(
            self.settings, self.params, split, self.datasets, self.vectorizer, self.workers
        )

    def flat(self, parameters: Parameters) -> dict[str, object]:
        """All parameters of a run under one set of names."""
        return {**self.described(parameters), **msgspec.structs.asdict(self.vectorizer)}

    def described(self, parameters: Parameters) -> dict[str, Value]:
        """The parameters, with the model to start from if there is one."""
        return {"from": self.start.name, **parameters} if self.start else dict(parameters)

    def fit(self, parameters: Parameters, data: Labelled) -> Pipeline:
        """A pipeline from raw text to calibrated probability."""
        return fit_pipeline(self.subject, parameters, self.params.seed, self.vectorizer, data)

    def fit_rivals(self, data: Labelled) -> dict[str, Pipeline]:
        """The models that the subject is compared with."""
        return {name: self.fit(given, data) for name, given in self.subject.rivals.items()}

    def tags(self) -> dict[str, str]:
        """Tags of a run: subject, data sets and their SHA-256."""
        hashes = {
            f"data.{name}.sha256": load_report(self.settings, name).sha256 for name in self.datasets
        }
        return {
            "subject": self.subject.name,
            "datasets": ", ".join(self.datasets),
            LANGUAGE_TAG: self.vectorizer.language,
            **({"workers": str(self.workers.count)} if self.workers else {}),
            **self.classes.tags,
            **hashes,
        }

    def inputs(self) -> list[DatasetInput]:
        """The splits that are trained and validated on, for the run to log."""
        return [_input(self.settings, name, split) for name in self.datasets for split in _CONTEXTS]


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    run_id: str
    subject: str
    parameters: dict[str, Value]
    datasets: list[str]
    language: Language
    """Of the texts; of ``auto``, the one that was found."""
    start: str | None = None
    """The model that it started from."""
    learnt: Kind | None = None
    """What was chosen: the start as it is, a model from scratch, or both together."""
    validation: Metrics | None
    rivals: dict[str, Metrics] = {}
    """Of the models that it is compared with, on the validation split."""
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
    start: Start | None = None,
    profile: Profiler | None = None,
    engine: EngineName = "local",
    address: str | None = None,
) -> RunResult:
    """Train one model with parameters given by hand, on the train splits.

    Validation metrics and figures go to the run. With `log_model` the model is fitted again on
    train and validation texts, evaluated on the test slices and logged. With `start`, the model is
    that one plus what the texts teach. `profile` makes what the logged model keeps of its texts.
    With the engine ``ray`` the rows are spread over the cluster at `address`.

    Raises
    ------
    TrainingError
        For an unknown subject or parameter, or data it cannot be fitted on.
    DataError
        If the data are not prepared.
    MissingExtraError, ClusterError
        As `pipelines.ray_cluster.ray_cluster`.
    """
    started = time.monotonic()
    job = Job.of(settings, params, subject, datasets, start, profile)
    parameters = job.subject.parameters(given)
    with Stop(lambda: on_stage(STOPPING)) as stop, _on(engine, address, job, parameters) as job:
        on_stage("reading features")
        if log_model:
            stop.run(lambda: check_test_data(job))
        data = stop.run(lambda: (job.counts("train"), job.counts("val")))
        tracker = Tracker.open(settings)
        with tracker.run(f"train {job.subject.name} {time_stamp()}", job.tags()) as run:
            run.log_datasets(job.inputs())
            on_stage(f"fitting {job.subject.name}")
            if job.subject.choose:
                choose = partial(job.subject.choose, parameters, params.seed, data[0])
                parameters = stop.run(choose)
            run.log_params(job.flat(parameters))
            validation, figures = stop.run(partial(_validate, job, parameters, *data))
            rivals = stop.run(partial(_validate_rivals, job, *data))
            del data
            run.log_metrics(validation.to_flat("val"))
            log_figures(run, figures, "figures/val")
            model_id: str | None = None
            test: dict[str, Metrics] = {}
            if log_model:
                model_id, test = finish(job, run, parameters, on_stage, stop)
    return RunResult(
        run_id=run.id,
        subject=job.subject.name,
        parameters=parameters,
        datasets=job.datasets,
        language=job.vectorizer.language,
        start=start.name if start else None,
        learnt=kind_of(start, parameters),
        validation=validation,
        rivals=rivals,
        test=test,
        model_id=model_id,
        seconds=time.monotonic() - started,
    )


@contextmanager
def _on(engine: EngineName, address: str | None, job: Job, parameters: Parameters) -> Iterator[Job]:
    """The job with the workers of its engine."""
    if engine == "local":
        yield job
        return
    for_workers(job.subject.build(parameters, job.params.seed), job.subject)
    with ray_workers(address) as workers:
        yield msgspec.structs.replace(job, workers=workers)


def check_test_data(job: Job) -> None:
    """Raise DataError now if `finish` would find no test texts, after hours perhaps."""
    test_slices(job.settings, job.params, job.datasets)


def finish(
    job: Job, run: Run, parameters: Mapping[str, Value], on_stage: OnStage, stop: Stop
) -> tuple[str, dict[str, Metrics]]:
    """Fit on train and validation texts, evaluate on the test slices, log everything.

    Returns the ID of the logged model and its metrics by slice.
    """
    on_stage(f"fitting {job.subject.name} on train and validation texts")
    pipeline, rivals = stop.run(lambda: _fit_on_both(job, parameters))
    on_stage("evaluating on the test split")
    metrics, figures, compared = stop.run(lambda: _test(job, pipeline, rivals))
    on_stage("logging the model")
    log_figures(run, figures, "figures/test")
    names = flattened(metrics)
    run.log_metrics(names)
    card = model_card(_card_facts(job, run, parameters, metrics, compared))
    profile = stop.run(lambda: _profile(job, pipeline))
    with temporary_folder("olens-model-") as temporary:
        folder = temporary / "model"
        stop.run(lambda: save_model(pipeline, folder, card, metrics, EXAMPLE, profile))
        all_params = {"subject": job.subject.name, **job.flat(parameters)}
        model_id = run.log_model(folder, all_params, names, job.tags())
    return model_id, metrics


def _profile(job: Job, pipeline: Pipeline) -> TextProfile | None:
    """The profile of the test split: texts of the same kind that the model has not seen."""
    if job.profile is None:
        return None
    return job.profile(pipeline, load_split(job.settings, job.params, "test", job.datasets))


def evaluate_on(
    predict: Predict, slices: Mapping[str, pl.DataFrame], classes: Classes
) -> tuple[dict[str, Metrics], dict[str, Figure]]:
    """Metrics by slice, and the figures of the test split, of probabilities of texts."""
    metrics = evaluate_slices(slices, predict, classes)
    test = slices[TEST]
    figures = _figures(test["label"].to_numpy(), predict(test["text"].to_list()), classes)
    return metrics, {**figures, "slices": slice_accuracy(metrics)}


def test_slices(
    settings: Settings, params: Params, datasets: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """The whole test split as `test`, then its slices, as far as they are of the data sets."""
    test = load_split(settings, params, "test", datasets)
    return {TEST: test, **load_slices(settings, params, datasets)}


def flattened(metrics: Mapping[str, Metrics]) -> dict[str, float]:
    """Metrics of all slices under names such as ``test.accuracy`` and ``slices.short.f1``."""
    flat_metrics: dict[str, float] = {}
    for name, found in metrics.items():
        flat_metrics |= found.to_flat(TEST if name == TEST else f"slices.{name}")
    return flat_metrics


def log_figures(run: Run, figures: Mapping[str, Figure], artifact_path: str) -> None:
    """Keep figures as PNG artifacts of the run."""
    with temporary_folder("olens-figures-") as temporary:
        save_figures(figures, temporary)
        run.log_files(temporary, artifact_path)


def time_stamp() -> str:
    """The time in UTC as names of runs and studies have it, ``20261125-225603``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"


_AT_ONCE: Final = 20_000
"""Test texts that are predicted in one call."""
_CONTEXTS: Final[dict[SplitName, str]] = {"train": "training", "val": "validation"}
_COLUMNS: Final = {"text": "string", "label": "integer"}


def _input(settings: Settings, name: str, split: SplitName) -> DatasetInput:
    path = settings.paths.prepared / name / f"{split}.parquet"
    return DatasetInput(
        name=f"{name}.{split}",
        digest=fingerprint(path)[1][:16],
        source=path,
        context=_CONTEXTS[split],
        rows=sum(load_report(settings, name).splits[split].values()),
        columns=_COLUMNS,
    )


def _validate(
    job: Job, parameters: Parameters, train_data: Labelled, val_data: Labelled
) -> tuple[Metrics, dict[str, Figure]]:
    """Fit on `train_data`; metrics and figures on `val_data`."""
    pipeline = job.fit(parameters, train_data)
    probability = probabilities(pipeline, val_data)
    labels, classes = val_data.labels, val_data.classes
    return evaluate(labels, probability, classes), _figures(labels, probability, classes)


def _validate_rivals(job: Job, train_data: Labelled, val_data: Labelled) -> dict[str, Metrics]:
    return {
        name: evaluate(val_data.labels, probabilities(pipeline, val_data), val_data.classes)
        for name, pipeline in job.fit_rivals(train_data).items()
    }


def _fit_on_both(job: Job, parameters: Parameters) -> tuple[Pipeline, dict[str, Pipeline]]:
    """The model and its rivals."""
    data = job.counts("train").followed_by(job.counts("val"))
    return job.fit(parameters, data), job.fit_rivals(data)


def _test(
    job: Job, pipeline: Pipeline, rivals: Mapping[str, Pipeline]
) -> tuple[dict[str, Metrics], dict[str, Figure], dict[str, Metrics]]:
    """On the test split: metrics by slice, figures, and the metrics of the rivals."""
    classes, slices = job.classes, test_slices(job.settings, job.params, job.datasets)

    def predict(fitted: Pipeline, texts: list[str]) -> NDArray[np.float64]:
        import numpy as np

        # Some at a time: the features of all test texts may not fit into memory.
        parts = [texts[at : at + _AT_ONCE] for at in range(0, len(texts), _AT_ONCE)]
        return np.concatenate([classes.compact(fitted.predict_proba(part)) for part in parts])

    compared = {
        name: evaluate_slices({TEST: slices[TEST]}, partial(predict, fitted), classes)[TEST]
        for name, fitted in rivals.items()
    }
    return *evaluate_on(partial(predict, pipeline), slices, classes), compared


def _figures(
    labels: NDArray[np.int8], probability: NDArray[np.float64], classes: Classes
) -> dict[str, Figure]:
    return {
        "confusion_matrix": confusion_matrix(labels, probability, classes),
        "roc": roc_curve(labels, probability, classes),
        "precision_recall": precision_recall_curve(labels, probability, classes),
        "calibration": calibration(labels, probability, classes),
    }


def _card_facts(
    job: Job,
    run: Run,
    parameters: Mapping[str, Value],
    metrics: dict[str, Metrics],
    rivals: dict[str, Metrics],
) -> CardFacts:
    return CardFacts(
        subject=job.subject.name,
        parameters=job.described(parameters),
        vectorizer=msgspec.structs.asdict(job.vectorizer),
        data=[DataFacts.from_report(load_report(job.settings, name)) for name in job.datasets],
        metrics=metrics,
        classes=job.classes,
        language=job.vectorizer.language,
        baselines=read_baselines(job.settings, job.datasets) | rivals,
        created=datetime.now(UTC),
        run_id=run.id,
        commit=git_commit(),
        versions=library_versions(),
    )

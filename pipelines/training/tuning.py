"""`olens tune`: an Optuna study over a subject's search space, then the best model."""

from __future__ import annotations

import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from pipelines.config.params import Params
from pipelines.config.settings import Settings
from pipelines.errors import RegistryError, TrainingError
from pipelines.labels import Classes
from pipelines.ray_cluster import EngineName
from pipelines.registry.databases import (
    database_file,
    engine_uri,
    ensure_database,
    require_writable,
    storage_failure,
)
from pipelines.registry.tracking import Run, Tracker, has_ended, this_process
from pipelines.training.features import Labelled
from pipelines.training.figures import optimisation_history, parameter_importance
from pipelines.training.reports import TUNED, Tuned, write_report
from pipelines.training.runs import (
    STOPPING,
    Job,
    OnStage,
    Profiler,
    check_test_data,
    finish,
    log_figures,
    time_stamp,
)
from pipelines.training.starting import Start, kind_of
from pipelines.training.stopping import Stop
from pipelines.training.subjects import Parameters
from pipelines.training.trials import Fit, Trials, local_fit, ray_fit

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_STARTUP_TRIALS: Final = 4
"""Trials drawn at random and never pruned, before the study learns from what it has seen."""
_RUN_ATTRIBUTE: Final = "mlflow_run_id"
_SETUP_ATTRIBUTE: Final = "setup"
_ERROR_ATTRIBUTE: Final = "error"
_PROCESS_ATTRIBUTE: Final = "process"
_HEARTBEAT: Final = 10
"""Seconds between two signs of life of a trial, in a storage that several machines share."""
_GRACE: Final = 60
"""Seconds without one until a trial counts as lost with its machine."""

_SMALL_IS_GOOD: Final = frozenset(["log_loss", "mae"])
"""Metrics that are minimised."""

OnTrial = Callable[["Study", "FrozenTrial"], None]
"""Called after every trial."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to search.

    Attributes
    ----------
    trials : int
        Finished trials that the study is to have, those before a resumption included.
    timeout : float or None
        Seconds after which no further trial begins.
    jobs : int or None
        Trials at a time; None: as many as the engine has CPUs for.
    study : str or None
        Name; None for one made of the subject and the time.
    resume : bool
        Go on with the study of that name, beside other machines that may be at it.
    engine : str
        Where trials are fitted: ``local`` or ``ray``.
    address : str or None
        Of the Ray cluster, as for `pipelines.ray_cluster.ray_cluster`.
    """

    trials: int
    timeout: float | None
    jobs: int | None
    metric: str
    study: str | None = None
    resume: bool = False
    engine: EngineName = "local"
    address: str | None = None


class TuneResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a study came to."""

    tuned: Tuned
    pruned: int
    failed: int
    interrupted: bool
    report: Path
    seconds: float


def tune(
    settings: Settings,
    params: Params,
    subject: str,
    plan: Plan,
    datasets: Sequence[str] | None = None,
    on_stage: OnStage = lambda stage: None,
    on_trial: OnTrial = lambda study, trial: None,
    start: Start | None = None,
    profile: Profiler | None = None,
) -> TuneResult:
    """Search, fit the best on train and validation texts, evaluate it on the test slices, log it.

    With `start`, models are that one plus what the texts teach; the first trials are the start as
    it is, and a model from scratch. `profile` makes what the logged model keeps of its texts.

    Ctrl-C ends the search; the best so far is fitted and logged. Pressed again, it ends all of
    it. A study that was killed is taken up again with ``resume``: its trials and its MLflow run
    are still there.

    Raises
    ------
    TrainingError
        For an unknown subject, a study that does not fit, or if no trial succeeded.
    DataError
        If the data are not prepared.
    StorageError
        If the disk is full, or a database is damaged or cannot be written.
    KeyboardInterrupt
        If it is interrupted before any trial has succeeded, or after the search.
    """
    started = time.monotonic()
    job = Job.of(settings, params, subject, datasets, start, profile)
    _check_metric(plan.metric, job.classes)
    # As a warning, Optuna prints the traceback of every trial that fails.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _explained_storage(settings), Stop(lambda: on_stage(STOPPING)) as stop:
        study = _open_study(job, plan)
        on_stage("reading features")
        stop.run(lambda: check_test_data(job))
        data = stop.run(lambda: (job.counts("train"), job.counts("val")))
        tracker = Tracker.open(settings)
        with _parent_run(tracker, job, study, plan) as run:
            with _fits(job, plan, *data) as (fit, jobs):
                del data
                objective = _Objective(job, plan, fit, tracker, run, stop, study.study_name)
                on_stage(f"searching ({study.study_name})")
                interrupted = _search(study, objective, plan, jobs, on_trial, stop)
                del objective, fit
            if not (interrupted or database_file(settings.optuna.storage)):
                _wait_for_lost(study, on_stage)
            _end_lost_runs(study, tracker)
            best = _best(study, interrupted, job)
            # What a trial keeps is what was suggested; the subject may have changed it.
            chosen = job.subject.suggest(optuna.trial.FixedTrial(best.params, best.number))
            parameters = job.subject.parameters(chosen)
            run.log_params(job.flat(parameters))
            run.log_metrics({f"val.{plan.metric}": float(best.value or 0.0)})
            figures = {
                "optimisation_history": optimisation_history(study, plan.metric),
                "parameter_importance": parameter_importance(study),
            }
            log_figures(run, figures, "figures/study")
            model_id, metrics = finish(job, run, parameters, on_stage, stop)
    tuned = Tuned(
        model_id=model_id,
        run_id=run.id,
        study=study.study_name,
        subject=job.subject.name,
        start=start.name if start else None,
        learnt=kind_of(start, parameters),
        parameters=parameters,
        metric=plan.metric,
        value=float(best.value or 0.0),
        trials=len(_in_state(study, TrialState.COMPLETE, TrialState.PRUNED)),
        datasets=job.datasets,
        test=metrics,
    )
    return TuneResult(
        tuned=tuned,
        pruned=len(_in_state(study, TrialState.PRUNED)),
        failed=len(_in_state(study, TrialState.FAIL)),
        interrupted=interrupted,
        report=write_report(settings, TUNED, tuned),
        seconds=time.monotonic() - started,
    )


def study_names(settings: Settings) -> list[str]:
    """The studies in the storage of the settings."""
    with _explained_storage(settings):
        return list(optuna.get_all_study_names(_storage(settings.optuna.storage)))


class _Objective:
    """One trial: a nested run, a first look at a quarter of the texts, then all of them."""

    def __init__(
        self,
        job: Job,
        plan: Plan,
        fit: Fit,
        tracker: Tracker,
        parent: Run,
        stop: Stop,
        study: str,
    ) -> None:
        self._job = job
        self._inputs = job.inputs()
        self._study = study
        self._metric = plan.metric
        self._fit = fit
        self._tracker = tracker
        self._parent = parent
        self._stop = stop

    def __call__(self, trial: Trial) -> float:
        job = self._job
        trial.set_user_attr(_PROCESS_ATTRIBUTE, this_process())
        parameters = job.subject.parameters(job.subject.suggest(trial))
        name = f"{self._study} trial {trial.number}"
        with self._tracker.run(name, job.tags(), parent=self._parent.id) as run:
            trial.set_user_attr(_RUN_ATTRIBUTE, run.id)
            run.log_params(job.flat(parameters))
            run.log_datasets(self._inputs)
            early = self._score(trial, parameters, first=True)
            trial.report(self._value(early), step=0)
            run.log_metrics({f"first_look.{key}": value for key, value in early.items()})
            if trial.should_prune():
                run.set_tag("pruned", "true")
                pruned = True
            else:
                pruned = False
                found = self._score(trial, parameters, first=False)
                run.log_metrics({f"val.{key}": value for key, value in found.items()})
                value = self._value(found)
        if pruned:
            raise optuna.TrialPruned
        return value

    def _value(self, found: dict[str, float]) -> float:
        if self._metric not in found:
            raise TrainingError(f"The {self._metric} of this trial is not defined.")
        return found[self._metric]

    def _score(self, trial: Trial, parameters: Parameters, first: bool) -> dict[str, float]:
        try:
            return self._stop.run(lambda: self._fit(parameters, first))
        except TrainingError as error:
            trial.set_user_attr(_ERROR_ATTRIBUTE, str(error))
            raise


@contextmanager
def _fits(job: Job, plan: Plan, train: Labelled, val: Labelled) -> Iterator[tuple[Fit, int]]:
    """What fits the trials, and how many at a time."""
    trials = Trials(job.subject, job.params.seed, plan.metric == "log_loss")
    if plan.engine == "ray":
        with ray_fit(trials, train, val, plan.address) as (fit, cpus):
            yield fit, plan.jobs or cpus
    else:
        jobs = plan.jobs or os.cpu_count() or 1
        yield local_fit(trials, train, val, jobs), jobs


def _check_metric(metric: str, classes: Classes) -> None:
    if metric == "f1_macro" and classes.two:
        raise TrainingError("tune.metric = 'f1_macro' is for more than two classes; choose 'f1'")
    if metric in ("mae", "kappa") and (classes.two or not classes.ordered):
        raise TrainingError(
            f"tune.metric = {metric!r} is for more than two ordered classes. If the order of "
            "the classes means something, write `ordered: true` in conf/params.yaml"
        )


def _open_study(job: Job, plan: Plan) -> Study:
    name = plan.study or f"{job.subject.slug}-{time_stamp()}-{secrets.token_hex(2)}"
    storage = _storage(job.settings.optuna.storage)
    if plan.resume and name not in (there := optuna.get_all_study_names(storage)):
        raise TrainingError(
            f"There is no study {name!r} to resume. "
            + (f"There are: {', '.join(there[-5:])}" if there else "There is none yet.")
        )
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            load_if_exists=plan.resume,
            direction="minimize" if plan.metric in _SMALL_IS_GOOD else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS),
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise TrainingError(
            f"There is a study {name!r} already: continue it with --resume, or choose another "
            "name by --study"
        ) from None
    setup = [job.subject.name, plan.metric, sorted(job.datasets)]
    if study.user_attrs.setdefault(_SETUP_ATTRIBUTE, setup) != setup:
        raise TrainingError(
            f"The study {name!r} is about {study.user_attrs[_SETUP_ATTRIBUTE]}, not about {setup}"
        )
    study.set_user_attr(_SETUP_ATTRIBUTE, setup)
    for rival in job.subject.rivals.values():
        study.enqueue_trial(dict(rival), skip_if_exists=True)
    _fail_killed(study)
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=_STARTUP_TRIALS,
        # A study that is resumed must not try what was tried, here or on another machine.
        seed=None if plan.resume else job.params.seed + len(study.trials),
        constant_liar=plan.jobs != 1,
    )
    return study


def _fail_killed(study: Study) -> None:
    """Mark the trials of killed processes of this machine as failed."""
    for trial in _in_state(study, TrialState.RUNNING):
        if _was_killed(trial):
            study.tell(trial.number, state=TrialState.FAIL)


def _was_killed(trial: FrozenTrial) -> bool:
    process = trial.user_attrs.get(_PROCESS_ATTRIBUTE)
    if process is None:  # killed before it could say who it is, if it has not just begun
        started: datetime = trial.datetime_start
        return started < datetime.now() - timedelta(seconds=_GRACE)
    return has_ended(str(process))


def _storage(uri: str) -> optuna.storages.RDBStorage:
    if file := database_file(uri):
        ensure_database(file, _make_tables)
        require_writable(file)
    try:
        return optuna.storages.RDBStorage(engine_uri(uri)) if file else _shared_storage(uri)
    except Exception as error:  # SQLAlchemy's many errors
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"optuna.storage = {uri}: cannot be opened: {first}") from error


def _shared_storage(uri: str) -> optuna.storages.RDBStorage:
    """A storage of several machines, in which running trials give signs of life."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(
            uri,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=_HEARTBEAT,
            grace_period=_GRACE,
        )


def _make_tables(uri: str) -> None:
    storage = optuna.storages.RDBStorage(uri)
    storage.remove_session()
    storage.engine.dispose()


@contextmanager
def _explained_storage(settings: Settings) -> Iterator[None]:
    """Turn what SQLite raises through Optuna, a full disk say, into our errors."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        file = database_file(settings.optuna.storage)
        failure = storage_failure(error, file) if file else None
        first = str(error).splitlines()[0]
        raise failure or TrainingError(
            f"optuna.storage = {settings.optuna.storage}: {first[:300]}"
        ) from error


@contextmanager
def _parent_run(tracker: Tracker, job: Job, study: Study, plan: Plan) -> Iterator[Run]:
    """The run of the study: a new one, or the unfinished one of the study that is resumed."""
    earlier = study.user_attrs.get(_RUN_ATTRIBUTE)
    if earlier and tracker.unfinished(earlier):
        with tracker.resumed(earlier) as run:
            yield run
        return
    name = f"tune {study.study_name}"
    if plan.study:  # Others are named after their subject and the time already.
        name = f"tune {job.subject.name} {plan.study} {time_stamp()}"
    with tracker.run(name, {**job.tags(), "study": study.study_name}) as run:
        study.set_user_attr(_RUN_ATTRIBUTE, run.id)
        run.log_datasets(job.inputs())
        yield run


def _search(
    study: Study, objective: _Objective, plan: Plan, jobs: int, on_trial: OnTrial, stop: Stop
) -> bool:
    """Run the trials that are missing; returns whether Ctrl-C ended it."""
    finished = TrialState.COMPLETE, TrialState.PRUNED

    def stop_if_asked(study: Study, trial: FrozenTrial) -> None:
        if stop.pressed:
            study.stop()

    missing = plan.trials - len(_in_state(study, *finished))
    if missing <= 0:
        return False
    try:
        study.optimize(
            objective,
            n_trials=missing,
            timeout=plan.timeout,
            n_jobs=jobs,
            callbacks=[
                on_trial,
                stop_if_asked,
                # Other machines may finish some of them.
                optuna.study.MaxTrialsCallback(plan.trials, finished),
            ],
            catch=(TrainingError,),
        )
    except KeyboardInterrupt:
        if not stop.pressed:  # Somebody else handles the signal.
            return True
    if not stop.pressed:
        return False
    stop.taken()
    stop.check()  # Pressed twice, it is meant for the whole command.
    return True


def _wait_for_lost(study: Study, on_stage: OnStage) -> None:
    """Wait for trials of other machines until each has ended or is known to be lost."""
    until = time.monotonic() + _GRACE + _HEARTBEAT
    while _in_state(study, TrialState.RUNNING) and time.monotonic() < until:
        on_stage(f"waiting for trials of other machines, {_GRACE + _HEARTBEAT} s at most")
        _fail_killed(study)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        time.sleep(1)


def _end_lost_runs(study: Study, tracker: Tracker) -> None:
    """Mark the MLflow runs of machines that were lost as killed: of their trials, and their own."""
    for trial in _in_state(study, TrialState.FAIL):
        process = trial.user_attrs.get(_PROCESS_ATTRIBUTE)
        if process and process != this_process():
            with suppress(RegistryError):  # it has been deleted
                tracker.end_lost(process, trial.user_attrs.get(_RUN_ATTRIBUTE))


def _best(study: Study, interrupted: bool, job: Job) -> FrozenTrial:
    if not _in_state(study, TrialState.COMPLETE):
        if interrupted:
            raise KeyboardInterrupt
        failed = _in_state(study, TrialState.FAIL)
        reason = failed[-1].user_attrs.get(_ERROR_ATTRIBUTE) if failed else None
        raise TrainingError(
            f"No trial of {study.study_name} succeeded. "
            + (reason or f"See what one run does: olens train --subject {job.subject.name}")
        )
    return study.best_trial


def _in_state(study: Study, *states: TrialState) -> list[FrozenTrial]:
    return list(study.get_trials(deepcopy=False, states=states))

"""`olens tune`: an Optuna study over a subject's search space, then the best model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import optuna
from optuna.trial import TrialState

from pipelines.errors import TrainingError
from pipelines.params import Params
from pipelines.settings import Settings
from pipelines.training.features import Labelled
from pipelines.training.figures import optimisation_history, parameter_importance
from pipelines.training.fitting import fit_classifier, flat, subset, validation_metrics
from pipelines.training.reports import TUNED, Tuned, write_report
from pipelines.training.runs import Job, OnStage, check_test_data, finish, log_figures
from pipelines.training.stopping import Stop
from pipelines.training.subjects import Value
from pipelines.training.tracking import Run, Tracker

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

FIRST_LOOK: Final = 0.25
"""Share of the train texts a trial is first fitted on; the pruner stops it there if it lags."""
_STARTUP_TRIALS: Final = 4
"""Trials drawn at random and never pruned, before the study learns from what it has seen."""
_RUN_ATTRIBUTE: Final = "mlflow_run_id"
_SETUP_ATTRIBUTE: Final = "setup"
_ERROR_ATTRIBUTE: Final = "error"

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
    jobs : int
        Trials at a time.
    study : str or None
        Name; None for one made of the subject and the time.
    resume : bool
        Go on with the study of that name.
    """

    trials: int
    timeout: float | None
    jobs: int
    metric: str
    study: str | None = None
    resume: bool = False


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
) -> TuneResult:
    """Search, fit the best on train and validation texts, look at the test slices, log it.

    Ctrl-C ends the search; the best so far is kept. Pressed twice, it ends all of it. A study
    that was killed is taken up again with ``resume``: its trials and its MLflow run are still
    there.

    Raises
    ------
    TrainingError
        For an unknown subject, a study that does not fit, or if no trial succeeded.
    DataError
        If the data are not prepared.
    KeyboardInterrupt
        If it is interrupted before any trial has succeeded, or twice.
    """
    started = time.monotonic()
    job = Job.of(settings, params, subject, datasets)
    # As a warning, Optuna prints the traceback of every trial that fails.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _open_study(job, plan)
    on_stage("reading features")
    check_test_data(job)
    train_data, val_data = job.counts("train"), job.counts("val")
    tracker = Tracker.open(settings)
    with _parent_run(tracker, job, study) as run:
        stop = Stop()
        objective = _Objective(job, plan, train_data, val_data, tracker, run, stop)
        on_stage(f"searching ({study.study_name})")
        interrupted = _search(study, objective, plan, on_trial, stop)
        best = _best(study, interrupted, job)
        del objective, train_data, val_data
        # What a trial keeps is what was suggested; the subject may have made something else of it.
        chosen = job.subject.suggest(optuna.trial.FixedTrial(best.params, best.number))
        parameters = job.subject.parameters(chosen)
        run.log_params(flat(parameters, job.vectorizer))
        run.log_metrics({f"val.{plan.metric}": float(best.value or 0.0)})
        figures = {
            "optimisation_history": optimisation_history(study, plan.metric),
            "parameter_importance": parameter_importance(study),
        }
        log_figures(run, figures, "figures/study")
        model_id, metrics = finish(job, run, parameters, on_stage)
    tuned = Tuned(
        model_id=model_id,
        run_id=run.id,
        study=study.study_name,
        subject=job.subject.name,
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
    return list(optuna.get_all_study_names(_storage(settings.optuna.storage)))


class _Objective:
    """One trial: a nested run, a first look at a quarter of the texts, then all of them."""

    def __init__(
        self,
        job: Job,
        plan: Plan,
        train_data: Labelled,
        val_data: Labelled,
        tracker: Tracker,
        parent: Run,
        stop: Stop,
    ) -> None:
        self._job = job
        self._metric = plan.metric
        self._first_look = subset(train_data, FIRST_LOOK)
        self._train = train_data
        self._val = val_data
        self._tracker = tracker
        self._parent = parent
        self._stop = stop

    def __call__(self, trial: Trial) -> float:
        job = self._job
        parameters = job.subject.parameters(job.subject.suggest(trial))
        name = f"trial {trial.number}"
        with self._tracker.run(name, job.tags(), parent=self._parent.id) as run:
            run.log_params(flat(parameters, job.vectorizer))
            early = self._score(trial, parameters, self._first_look)
            trial.report(early[self._metric], step=0)
            run.log_metrics({f"first_look.{key}": value for key, value in early.items()})
            if trial.should_prune():
                run.set_tag("pruned", "true")
                pruned = True
            else:
                pruned = False
                found = self._score(trial, parameters, self._train)
                run.log_metrics({f"val.{key}": value for key, value in found.items()})
        if pruned:
            raise optuna.TrialPruned
        return found[self._metric]

    def _score(
        self, trial: Trial, parameters: dict[str, Value], data: Labelled
    ) -> dict[str, float]:
        seed = self._job.params.seed
        try:
            with self._stop.at_once():
                classifier = fit_classifier(self._job.subject, parameters, seed, data)
                return validation_metrics(classifier, self._val)
        except TrainingError as error:
            trial.set_user_attr(_ERROR_ATTRIBUTE, str(error))
            raise


def _open_study(job: Job, plan: Plan) -> Study:
    name = plan.study or f"{job.subject.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    storage = _storage(job.settings.optuna.storage)
    known = name in optuna.get_all_study_names(storage)
    if plan.resume and not known:
        there = optuna.get_all_study_names(storage)
        raise TrainingError(
            f"There is no study {name!r} to resume. "
            + (f"There are: {', '.join(there[-5:])}" if there else "There is none yet.")
        )
    if known and not plan.resume:
        raise TrainingError(
            f"There is a study {name!r} already: go on with it by --resume, or choose another "
            "name by --study"
        )
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS),
    )
    setup = [job.subject.name, plan.metric, sorted(job.datasets)]
    if study.user_attrs.setdefault(_SETUP_ATTRIBUTE, setup) != setup:
        raise TrainingError(
            f"The study {name!r} is about {study.user_attrs[_SETUP_ATTRIBUTE]}, not about {setup}"
        )
    study.set_user_attr(_SETUP_ATTRIBUTE, setup)
    for trial in _in_state(study, TrialState.RUNNING):
        # Left by a process that was killed.
        study.tell(trial.number, state=TrialState.FAIL)
    # With the seed alone, a resumed study would begin with the same random trials once more.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=_STARTUP_TRIALS, seed=job.params.seed + len(study.trials)
    )
    return study


def _storage(url: str) -> optuna.storages.RDBStorage:
    prefix = "sqlite:///"
    if url.startswith(prefix):
        Path(url.removeprefix(prefix)).parent.mkdir(parents=True, exist_ok=True)
    try:
        return optuna.storages.RDBStorage(url)
    except Exception as error:  # SQLAlchemy's many errors
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"optuna.storage = {url}: cannot be opened: {first}") from error


@contextmanager
def _parent_run(tracker: Tracker, job: Job, study: Study) -> Iterator[Run]:
    """The run of the study: a new one, or the unfinished one of the study that is resumed."""
    earlier = study.user_attrs.get(_RUN_ATTRIBUTE)
    if earlier and tracker.unfinished(earlier):
        with tracker.resumed(earlier) as run:
            yield run
        return
    tags = {**job.tags(), "study": study.study_name}
    with tracker.run(f"tune {job.subject.name}", tags) as run:
        study.set_user_attr(_RUN_ATTRIBUTE, run.id)
        yield run


def _search(study: Study, objective: _Objective, plan: Plan, on_trial: OnTrial, stop: Stop) -> bool:
    """Run the trials that are missing; returns whether Ctrl-C ended it."""

    def stop_if_asked(study: Study, trial: FrozenTrial) -> None:
        if stop.presses:
            study.stop()

    done = len(_in_state(study, TrialState.COMPLETE, TrialState.PRUNED))
    missing = plan.trials - done
    if missing <= 0:
        return False
    try:
        with stop:
            study.optimize(
                objective,
                n_trials=missing,
                timeout=plan.timeout,
                n_jobs=plan.jobs,
                callbacks=[on_trial, stop_if_asked],
                catch=(TrainingError,),
            )
    except KeyboardInterrupt:
        if stop.presses > 1:  # It is meant for the whole command.
            raise
        return True
    return stop.presses > 0


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

"""`olens tune`: search for the best parameters of a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import (
    JsonOption,
    err,
    note,
    print_json,
    print_learnt,
    print_metrics,
    print_next,
    say,
    stages,
    warn,
)
from opinionlens_cli.options import (
    NEW_NAME,
    AddressOption,
    DatasetOption,
    Engine,
    EngineOption,
    StartOption,
    SubjectOption,
    check_address,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


def tune_cli(
    subject: SubjectOption = None,
    start: StartOption = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Number of trials of the study, earlier ones included."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no new trial begins.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials that run at the same time. Default: conf/params.yaml; with Ray, the CPUs "
            "of the cluster.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study. Default: subject and time.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the study of that name.")
    ] = False,
    dataset: DatasetOption = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for the best parameters with Optuna, then train, test and log the best model.

    Every trial is a nested MLflow run. Ctrl-C ends the search and keeps the best so far (exit
    code 0; 130 if no trial had finished); pressed again, it ends at once (130). A study that was
    killed goes on with --resume. Subjects: nbsvm, logistic_regression, linear_svc,
    bagging_linear_svc, complement_nb, knn, decision_tree, random_forest, and those of installed
    packages. With --from the study searches how much to add to another model, such as base; its
    first trials are that model as it is, and one from scratch. With --engine ray trials are fitted
    on a cluster. If optuna.storage is a PostgreSQL database, several machines can work at one
    study: one begins it, the others --resume it.

    Example: olens tune --subject nbsvm --trials 20 --study mine
    """
    check_address(engine, address)
    if resume and study is None:
        raise typer.BadParameter("say which study to resume with --study", param_hint="--resume")

    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings
    from pipelines.datasets.found_language import found_language
    from pipelines.datasets.loading import stale
    from pipelines.inference.profiling import profile_pipeline
    from pipelines.training.tuning import Plan, tune
    from pipelines.workflows.open_start import open_start

    settings = load_settings()
    params = load_params(settings.root)
    for message in stale(settings, params):
        warn(message)
    if found := found_language(settings, params, dataset):
        note(found.evidence)
    plan = Plan(
        trials=trials or params.tune.trials,
        timeout=params.tune.timeout if timeout is None else timeout,
        jobs=jobs or (None if engine is Engine.ray else params.tune.jobs),
        metric=params.tune.metric,
        study=study,
        resume=resume,
        engine=engine.value,
        address=address,
    )
    with stages() as on_stage:
        result = tune(
            settings,
            params,
            subject or params.tune.subject,
            plan,
            dataset,
            on_stage,
            _TrialLog(plan.trials, plan.metric),
            open_start(settings, start or params.tune.start),
            profile_pipeline,
        )
    if as_json:
        print_json(result)
        return
    tuned = result.tuned
    if result.interrupted:
        warn(f"Interrupted after {tuned.trials} trials; the best of them was kept.")
    print_metrics(tuned.test, f"{tuned.subject} on the test split")
    chosen = ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in tuned.parameters.items()
    )
    say(f"Best of {tuned.trials} trials ({result.pruned} pruned): {chosen}")
    if tuned.learnt and tuned.start:
        print_learnt(tuned.learnt, tuned.start, "The study")
    say(f"Study {tuned.study}, run {tuned.run_id}, {result.seconds:.1f} s.")
    say(f"Logged model {tuned.model_id}.")
    print_next(f"register latest {NEW_NAME}")


class _TrialLog:
    """Prints a line for every trial, with the best value so far."""

    def __init__(self, trials: int, metric: str) -> None:
        self._trials = trials
        self._metric = metric

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        from optuna.trial import TrialState

        # Those that failed or were interrupted have numbers too, and do not count.
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        complete = any(found.state == TrialState.COMPLETE for found in finished)
        best = f"{study.best_value:.4f}" if complete else "none yet"
        value = f"{trial.value:.4f}" if trial.value is not None else trial.state.name.lower()
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        err.print(
            f"trial {len(finished)}/{self._trials}: {self._metric} {value} in {seconds:.1f} s, "
            f"best {best}",
            highlight=False,
        )

"""`olens tune`: search the best parameters of a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, err, out, print_json, print_table, warn
from opinionlens_cli.metrics import METRIC_COLUMNS, metric_rows
from opinionlens_cli.parameters import DatasetOption, SubjectOption
from opinionlens_cli.stages import stages

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


def tune_cli(
    subject: SubjectOption = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials the study is to have, earlier ones included."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no further trial begins.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trials at a time.")] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study. Default: subject and time.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study of that name.")
    ] = False,
    dataset: DatasetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the best parameters with Optuna, then train, test and log the best model.

    Every trial is a nested MLflow run. Ctrl-C ends the search and keeps the best so far; a study
    that was killed goes on with --resume. Subjects: nbsvm, logistic_regression, linear_svc,
    bagging_linear_svc, complement_nb, knn, decision_tree, random_forest, and those of installed
    packages.

    Example: olens tune --subject nbsvm --trials 20 --study mine
    """
    if resume and study is None:
        raise typer.BadParameter("say which study to resume with --study", param_hint="--resume")

    from pipelines.datasets.loading import stale
    from pipelines.params import load_params
    from pipelines.settings import load_settings
    from pipelines.training.tuning import Plan, tune

    settings = load_settings()
    params = load_params(settings.root)
    for message in stale(settings, params):
        warn(message)
    plan = Plan(
        trials=trials or params.tune.trials,
        timeout=params.tune.timeout if timeout is None else timeout,
        jobs=jobs or params.tune.jobs,
        metric=params.tune.metric,
        study=study,
        resume=resume,
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
        )
    if as_json:
        print_json(result)
        return
    tuned = result.tuned
    if result.interrupted:
        warn(f"Interrupted after {tuned.trials} trials; the best of them was kept.")
    print_table(METRIC_COLUMNS, metric_rows(tuned.test), f"{tuned.subject} on the test split")
    chosen = ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in tuned.parameters.items()
    )
    out.print(f"Best of {tuned.trials} trials ({result.pruned} pruned): {chosen}")
    out.print(f"Study {tuned.study}, run {tuned.run_id}, {result.seconds:.1f} s.", highlight=False)
    out.print(f"Logged model {tuned.model_id}. Next: olens register latest NAME")


class _TrialLog:
    """Prints a line for every trial, with the best value so far."""

    def __init__(self, trials: int, metric: str) -> None:
        self._trials = trials
        self._metric = metric

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        from optuna.trial import TrialState

        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = f"{study.best_value:.4f}" if complete else "none yet"
        value = f"{trial.value:.4f}" if trial.value is not None else trial.state.name.lower()
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        err.print(
            f"trial {trial.number + 1}/{self._trials}: {self._metric} {value} in {seconds:.1f} s, "
            f"best {best}",
            highlight=False,
        )

"""`olens train`: one run with parameters by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, out, print_json, print_table, warn
from opinionlens_cli.metrics import METRIC_COLUMNS, metric_rows
from opinionlens_cli.parameters import DatasetOption, SubjectOption, parse_parameters
from opinionlens_cli.stages import stages


def train_cli(
    subject: SubjectOption = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; can be repeated."),
    ] = None,
    dataset: DatasetOption = None,
    log_model: Annotated[
        bool,
        typer.Option(
            "--log-model",
            help="Also fit on train and validation texts, test, and log that model.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one model and track it in MLflow.

    Without options the subject and its parameters come from conf/params.yaml.

    Example: olens train --subject logistic_regression -p C=0.5 --log-model
    """
    given = parse_parameters(parameters or [])

    from pipelines.datasets.loading import stale
    from pipelines.params import load_params
    from pipelines.settings import load_settings
    from pipelines.training.runs import train

    settings = load_settings()
    params = load_params(settings.root)
    for message in stale(settings, params):
        warn(message)
    # The parameters in the file belong to the subject in the file.
    configured = params.train.params if subject in (None, params.train.subject) else {}
    with stages() as on_stage:
        result = train(
            settings,
            params,
            subject or params.train.subject,
            {**configured, **given},
            dataset,
            log_model,
            on_stage,
        )
    if as_json:
        print_json(result)
        return
    validation = {"validation": result.validation} if result.validation else {}
    print_table(METRIC_COLUMNS, metric_rows({**validation, **result.test}), result.subject)
    out.print(f"Run {result.run_id}, {result.seconds:.1f} s.", highlight=False)
    if result.model_id:
        out.print(f"Logged model {result.model_id}. Next: olens register latest NAME")
    else:
        out.print("No model was logged; --log-model does that.")

"""`olens train`: one run with given parameters."""

from __future__ import annotations

from typing import Annotated

import typer

from opinionlens_cli.console import (
    JsonOption,
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
    parse_parameters,
)


def train_cli(
    subject: SubjectOption = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; can be repeated."),
    ] = None,
    start: StartOption = None,
    dataset: DatasetOption = None,
    log_model: Annotated[
        bool,
        typer.Option(
            "--log-model",
            help="Also fit on train and validation texts, test, and log that model.",
        ),
    ] = False,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one model and track it in MLflow.

    Without options the subject and its parameters come from conf/params.yaml. With --from the model
    starts from another one, such as base, and is compared with it and with a model from scratch.

    Example: olens train --subject logistic_regression -p C=0.5 --log-model
    """
    check_address(engine, address)
    given = parse_parameters(parameters or [])

    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings
    from pipelines.datasets.found_language import found_language
    from pipelines.datasets.loading import stale
    from pipelines.inference.profiling import profile_pipeline
    from pipelines.training.runs import train
    from pipelines.workflows.open_start import open_start

    settings = load_settings()
    params = load_params(settings.root)
    for message in stale(settings, params):
        warn(message)
    if found := found_language(settings, params, dataset):
        note(found.evidence)
    start = start or params.train.start
    # The parameters in the file belong to the subject and the start in the file.
    in_file = subject in (None, params.train.subject) and start == params.train.start
    configured = params.train.params if in_file else {}
    with stages() as on_stage:
        result = train(
            settings,
            params,
            subject or params.train.subject,
            {**configured, **given},
            dataset,
            log_model,
            on_stage,
            open_start(settings, start),
            profile_pipeline,
            engine.value,
            address,
        )
    if as_json:
        print_json(result)
        return
    validation = {"validation": result.validation} if result.validation else {}
    rivals = {f"validation, {name}": metrics for name, metrics in result.rivals.items()}
    print_metrics({**validation, **rivals, **result.test}, result.subject)
    if result.learnt and result.start:
        print_learnt(result.learnt, result.start, "Cross-validation")
    say(f"Run {result.run_id}, {result.seconds:.1f} s.")
    if result.model_id:
        say(f"Logged model {result.model_id}.")
        print_next(f"register latest {NEW_NAME}")
    else:
        say("No model was logged; --log-model does that.")

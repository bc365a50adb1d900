"""`olens evaluate`: how good a model is, slice by slice or on a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, print_json, print_table, warn
from opinionlens_cli.metrics import METRIC_COLUMNS, metric_rows
from opinionlens_cli.stages import stages


def evaluate_cli(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A cached model (NAME-vN), a logged one (m-..., a run ID) `latest` or `base`. "
            "Default: the last tuned one, else the latest."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A labelled CSV, Parquet or JSONL file, instead of the test slices."),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    label_column: Annotated[
        str, typer.Option(help="Column with the label; the values of the declared data sets.")
    ] = "label",
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on the test slices, or on a file of your own.

    Example: olens evaluate latest --data reviews.csv --text-column body --label-column stars
    """
    from pipelines.datasets.loading import stale
    from pipelines.inference.evaluating import evaluate_model, evaluate_on_file
    from pipelines.params import load_params
    from pipelines.settings import load_settings

    settings = load_settings()
    params = load_params(settings.root)
    with stages() as on_stage:
        on_stage("evaluating")
        if data is not None:
            evaluation = evaluate_on_file(settings, params, model, data, text_column, label_column)
        else:
            for message in stale(settings, params):
                warn(message)
            evaluation = evaluate_model(settings, params, model)
    if as_json:
        print_json(evaluation)
    else:
        print_table(METRIC_COLUMNS, metric_rows(evaluation.metrics), evaluation.model)

"""`olens evaluate`: how good a model is, slice by slice or on a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, note, print_json, print_metrics, stages, warn
from opinionlens_cli.options import NAMES, LabelledFile, takes_labelled_file

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.workflows.evaluate import Evaluation


@takes_labelled_file
def evaluate_cli(
    model: Annotated[
        str | None,
        typer.Argument(
            help=f"Model: {NAMES}. Default: the last tuned one, else latest, else the active one."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A labelled file instead of the test slices: CSV, TSV, JSONL, JSON, Parquet or "
            "Excel, compressed or not."
        ),
    ] = None,
    *,
    file: LabelledFile,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on the test slices, or on a file of your own.

    Example: olens evaluate base --data reviews.csv --labels 'negative=1,2 positive=4,5' --drop 3
    """
    from pipelines.config.settings import load_settings
    from pipelines.workflows.evaluate import evaluate_on_file, open_evaluated

    settings = load_settings()
    with stages() as on_stage:
        if data is None:
            on_stage("evaluating")
            evaluation = _evaluate_slices(settings, model)
        else:
            opened = open_evaluated(settings, model)
            on_stage("reading labels")
            table = file.open(data, opened.scorer.classes)
            on_stage("evaluating")
            evaluation = evaluate_on_file(opened, table)
    for message in evaluation.data:
        note(message)
    for message in evaluation.warnings:
        warn(message)
    if as_json:
        print_json(evaluation)
    else:
        print_metrics(evaluation.metrics, evaluation.model)


def _evaluate_slices(settings: Settings, model: str | None) -> Evaluation:
    from pipelines.config.params import load_params
    from pipelines.datasets.loading import stale
    from pipelines.workflows.evaluate import evaluate_model

    params = load_params(settings.root)
    for message in stale(settings, params):
        warn(message)
    return evaluate_model(settings, params, model)

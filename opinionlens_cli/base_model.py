"""`olens base-model`: make the model that comes with the package; for those who work on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, out, print_json, print_table
from opinionlens_cli.stages import stages


def base_model_cli(
    to: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to replace. Default: the one inside the package."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the base model from the declared data sets, which have to be the real ones.

    Needs the package vaderSentiment (the extra `bench`) for the words of its lexicon.

    Example: olens base-model --out /tmp/base_model
    """
    from pipelines.inference.base import FOLDER
    from pipelines.inference.base_card import summary
    from pipelines.inference.making_base import make_base
    from pipelines.params import load_params
    from pipelines.settings import load_settings

    settings = load_settings()
    with stages() as on_stage:
        report = make_base(settings, load_params(settings.root), to or FOLDER, on_stage=on_stage)
    if as_json:
        print_json(report)
        return
    print_table(
        ["left out", "texts", "accuracy", "VADER"],
        [
            (name, metrics.n, metrics.accuracy, report.lexicon[name].accuracy)
            for name, metrics in report.left_out.items()
        ],
    )
    print_table(
        ["slice", "texts", "accuracy"],
        [(name, metrics.n, metrics.accuracy) for name, metrics in report.metrics.items()],
    )
    out.print(f"{summary(report.metrics)}; {report.size:,} bytes in {report.folder}")

"""`olens adapt`: a model of your own from a file of labelled texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import (
    JsonOption,
    note,
    print_json,
    print_learnt,
    print_next,
    print_table,
    say,
    stages,
    warn,
)
from opinionlens_cli.options import (
    NAMES,
    NEW_NAME,
    LabelledFile,
    NewAliasOption,
    RegisterOption,
    takes_labelled_file,
)

if TYPE_CHECKING:
    from pipelines.workflows.adapt import Adapted


@takes_labelled_file
def adapt_cli(
    data: Annotated[
        Path,
        typer.Argument(
            help="A file of labelled texts: CSV, TSV, JSONL, JSON, Parquet or Excel, compressed or "
            "not."
        ),
    ],
    *,
    file: LabelledFile,
    start: Annotated[
        str, typer.Option("--from", help=f"Linear model to start from: {NAMES}.")
    ] = "base",
    name: RegisterOption = None,
    alias: NewAliasOption = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Let it answer from now on; needs --name.")
    ] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Show what fewer texts would have given.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Teach a model your own few labels: it starts from what the base model knows.

    Some 20 labelled texts are enough to begin with; `--curve` shows what more would bring. The
    figures are about texts that the measured model has not seen.

    Example: olens adapt reviews.csv --label-column stars --drop 3 --name mine --activate
    """
    from pipelines.config.settings import load_settings
    from pipelines.files import fingerprint
    from pipelines.workflows.adapt import adapt_to_file
    from pipelines.workflows.open_start import open_linear

    with stages() as on_stage:
        on_stage("reading labels")
        settings = load_settings()
        adapted = adapt_to_file(
            settings,
            file.open(data, open_linear(settings, start)[1].classes),
            start,
            name,
            alias,
            activate,
            curve,
            on_stage,
            fingerprint(data)[1],
        )
    for message in adapted.messages:
        note(message)
    for message in adapted.warnings:
        warn(message)
    if as_json:
        print_json(adapted)
        return
    _print(adapted)
    if adapted.cached_id is None:
        print_next(f"register {adapted.model_id} {NEW_NAME}")
    elif not activate:
        print_next(f"models activate {adapted.cached_id}")


def _print(adapted: Adapted) -> None:
    names = {"start": adapted.start, "scratch": "from scratch", "adapted": "adapted"}
    print_table(
        ["model", "accuracy", "95 % interval", "f1_macro", "roc_auc", "ece"],
        [
            (
                names[kind],
                figures.metrics.accuracy,
                f"{figures.low:.1%} to {figures.high:.1%}",
                figures.metrics.f1_macro,
                figures.metrics.roc_auc,
                figures.metrics.ece,
            )
            for kind, figures in adapted.figures.items()
        ],
        f"On {adapted.held_out}",
    )
    if adapted.curve:
        print_table(
            ["texts", "from scratch", "adapted"],
            [(point.texts, point.scratch, point.adapted) for point in adapted.curve],
            "Accuracy by texts learnt",
        )
    print_learnt(adapted.learnt, adapted.start, "Cross-validation")
    cached = f", in the cache as {adapted.cached_id}" if adapted.cached_id else ""
    say(f"{adapted.texts:,} texts learnt; logged as {adapted.model_id}{cached}.")

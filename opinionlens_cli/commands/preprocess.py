"""`olens preprocess`: raw files -> clean, deduplicated splits and evaluation slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, note, print_json, print_table, progress, warn

if TYPE_CHECKING:
    from pipelines.datasets.reports import DatasetReport, SliceReport


def preprocess_cli(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATASET]...", help="Data sets of conf/params.yaml; all if none."),
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Only make the slices of the prepared test splits.")
    ] = False,
    sample: Annotated[
        bool, typer.Option("--sample", help="Use the synthetic sample in place of the raw files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Clean and deduplicate the data sets, split them, and make slices of the test splits.

    With names, only those data sets are prepared and the slices stay as they are.

    Example: olens preprocess imdb airline && olens preprocess --slices
    """
    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings
    from pipelines.datasets.preparing import Preprocessed, preprocess
    from pipelines.datasets.slicing import prepare_slices

    if slices and (names or sample):
        raise typer.BadParameter("stands alone: it reads what is prepared", param_hint="--slices")
    settings = load_settings()
    params = load_params(settings.root)
    if slices:
        done = Preprocessed([], prepare_slices(settings, params))
    else:
        with progress() as bar:
            tasks = {name: bar.add_task(name, total=None) for name in names or params.datasets}

            def advance(name: str, rows: int) -> None:
                bar.advance(tasks[name], rows)

            done = preprocess(settings, params, names or (), sample=sample, on_progress=advance)
    if as_json:
        print_json(done)
    else:
        _print_datasets(done.datasets)
        _print_slices(done.slices)
    for report in done.datasets:
        note(report.found)
        for message in report.warnings:
            warn(message)


def _print_datasets(reports: list[DatasetReport]) -> None:
    rows = [
        (
            report.dataset + (" (synthetic sample)" if report.origin == "sample" else ""),
            report.rows,
            _left_out(report),
            report.kept,
            *(sum(report.splits[split].values()) for split in ("train", "val", "test")),
        )
        for report in reports
    ]
    if rows:
        print_table(["data set", "rows", "left out", "kept", "train", "val", "test"], rows)


def _left_out(report: DatasetReport) -> str:
    counted = [(count, reason) for reason, count in report.dropped.items() if count]
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for count, reason in counted)


def _print_slices(report: SliceReport | None) -> None:
    if report is not None:
        rows = [(name, *counts.values()) for name, counts in report.slices.items()]
        classes = next(iter(report.slices.values()), {})
        print_table(["slice", *classes], rows)

"""`olens compare` and `olens promote`: is a model better than another, and may it replace it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, note, print_json, print_table, say, stages, warn
from opinionlens_cli.options import NAMES, LabelledFile, takes_labelled_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from pipelines.config.settings import Settings
    from pipelines.labels import Classes
    from pipelines.workflows.promote import GateReport, ReadSlices

DataOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        help="A labelled file instead of the test slices; several times for several files.",
    ),
]


@takes_labelled_file
def compare_cli(
    candidate: Annotated[str, typer.Argument(help=f"Model: {NAMES}.")],
    champion: Annotated[str, typer.Argument(help="The model to compare it with.")],
    data: DataOption = None,
    *,
    file: LabelledFile,
    as_json: JsonOption = False,
) -> None:
    """Compare two models on the same texts; the exit code is 1 if CANDIDATE falls on a slice.

    How far a slice may fall is the setting gate.max_drop. The report is also in data/reports, as
    comparison.md and comparison.json, and in the MLflow run of CANDIDATE.

    Example: olens compare latest reviews@champion --data reviews.csv
    """
    from pipelines.config.settings import load_settings
    from pipelines.workflows.promote import pass_gate

    settings = load_settings()
    with stages() as on_stage:
        on_stage("comparing")
        report = pass_gate(settings, candidate, champion, _reading(settings, data, file))
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.fallen:
        raise typer.Exit(1)


@takes_labelled_file
def promote_cli(
    model: Annotated[str, typer.Argument(help="A registered version: NAME/3 or NAME@alias.")],
    alias: Annotated[str, typer.Option(help="The alias to point to it.")] = "champion",
    data: DataOption = None,
    *,
    file: LabelledFile,
    force: Annotated[
        bool, typer.Option("--force", help="Move the alias although a slice falls.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Point an alias to a version, if it is not worse than the version that has the alias now.

    The two are compared as by `olens compare`. A service that follows the alias switches.

    Example: olens promote reviews/4 --alias champion
    """
    from pipelines.config.settings import load_settings
    from pipelines.workflows.promote import promote

    settings = load_settings()
    with stages() as on_stage:
        on_stage("comparing")
        done = promote(settings, model, alias, _reading(settings, data, file), force)
    if as_json:
        print_json(done)
        return
    if done.report:
        _print(done.report)
    if done.forced:
        warn("The alias was moved by force; the registry keeps what spoke against it.")
    before = f", before version {done.before}" if done.before else ""
    say(f"{done.alias} of {done.name} is version {done.version} now{before}.")


def _reading(settings: Settings, data: list[Path] | None, file: LabelledFile) -> ReadSlices:
    from pipelines.workflows.promote import gather_slices

    def read(classes: Classes) -> Mapping[str, pl.DataFrame]:
        files = {path.name: file.open(path, classes) for path in data or ()}
        return gather_slices(settings, files, classes)

    return read


def _print(report: GateReport) -> None:
    from pipelines.files import megabytes

    found = report.comparison
    rows = [
        (
            name,
            f"{each.n:,}",
            f"{each.candidate.accuracy:.1%}",
            f"{each.champion.accuracy:.1%}",
            f"{100 * each.difference:+.1f}",
            f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
            f"{each.p_value:.2g}",
            f"{each.candidate.ece:.3f}",
            f"{each.champion.ece:.3f}",
        )
        for name, each in found.slices.items()
    ]
    titles = ("slice", "texts", found.candidate, found.champion, "points", "95 % interval", "p")
    print_table((*titles, "ECE", "before"), rows)
    note(
        f"{found.candidate_speed:,.0f} texts a second and {megabytes(found.candidate_size)}, "
        f"against {found.champion_speed:,.0f} and {megabytes(found.champion_size)}."
    )
    if report.run_id:
        note(f"The report is in the run {report.run_id}.")
    if report.problem:
        warn(f"The report is not in the run of {found.candidate}: {report.problem}")
    for sentence in report.fallen:
        warn(f"{found.candidate} falls on {sentence}")

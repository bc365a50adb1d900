"""`olens data`: the declared data sets and their raw files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import (
    JsonOption,
    docs,
    note,
    print_json,
    print_next,
    print_table,
    progress,
    say,
    stages,
    warn,
)
from opinionlens_cli.options import NAMES, LabelledFile, takes_labelled_file

if TYPE_CHECKING:
    from pipelines.config.params import Params
    from pipelines.config.settings import Settings
    from pipelines.datasets.verifying import Verification
    from pipelines.labelling.doubts import LabelledRows
    from pipelines.labels import Classes

app = typer.Typer(
    help="List, download and verify the raw data sets, and find doubtful labels.",
    no_args_is_help=True,
)

_PAGE = docs("data")


@app.command("list", epilog=_PAGE)
def list_cli(as_json: JsonOption = False) -> None:
    """List the data sets of conf/params.yaml: which files are there, their rows and classes.

    Example: olens data list --json
    """
    from pipelines.datasets.listing import list_datasets

    settings, params = _project()
    listed = list_datasets(settings, params)
    if as_json:
        print_json(listed)
        return
    classes = params.class_names()
    rows = [(d.name, d.present, d.rows, *map(d.classes.get, classes), d.prepared) for d in listed]
    print_table(["data set", "present", "rows", *classes, "prepared from"], rows)
    for dataset in listed:
        if dataset.problem:
            warn(dataset.problem)
        elif not dataset.present:
            note(f"Missing: {dataset.path}")


@app.command("download", epilog=_PAGE)
def download_cli(
    name: Annotated[str, typer.Argument(help="A data set of conf/params.yaml.")],
    force: Annotated[
        bool, typer.Option("--force", help="Download even if the file is there, and replace it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a data set's file from Kaggle into data/raw.

    Public data sets need no account; for others set KAGGLE_USERNAME and KAGGLE_KEY.

    Example: olens data download imdb
    """
    from pipelines.datasets.downloading import download

    settings, params = _project()
    done = download(settings, params, name, force=force)
    if as_json:
        print_json(done)
        return
    if not done.fetched:
        note("The file is there already; --force downloads it again.")
    say(str(done.path))
    say(f"{done.size:,} bytes, sha256 {done.sha256}")


@app.command("verify", epilog=_PAGE)
def verify_cli(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Data sets of conf/params.yaml; all if none."),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Check the synthetic sample instead of the raw files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the raw files contain, and which rows `olens preprocess` would keep.

    Exits with 1 if something would stop it.

    Example: olens data verify amazon
    """
    from pipelines.datasets.verifying import verify

    settings, params = _project()
    with progress() as bar:
        tasks = {name: bar.add_task(name, total=None) for name in names or params.datasets}

        def advance(name: str, rows: int) -> None:
            bar.advance(tasks[name], rows)

        found = verify(settings, params, names or (), sample=sample, on_progress=advance)
    if as_json:
        print_json(found)
    else:
        _print_verifications(found)
    if not all(verification.usable for verification in found):
        raise typer.Exit(1)


@app.command("doubts", epilog=_PAGE)
@takes_labelled_file
def doubts_cli(
    source: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A data set, or a labelled file.")
    ],
    *,
    file: LabelledFile,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names of the classes of a file, with commas between. Default: negative, neutral "
            "and positive, as far as there are any."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help=f"For negative and positive, a linear model that helps: {NAMES}. It must not have "
            "learnt these labels. Default: none.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows to print.")] = 20,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="CSV file for all of them, to be labelled anew."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find labels that are probably wrong, contradicted by a like text, or ambiguous.

    The most doubtful come first. `probability` is that of the label, by a model that has not seen
    the text. The file holds text, label, suggestion, reason and source.

    Example: olens data doubts amazon --output doubts.csv
    """
    from pipelines.config.settings import load_settings
    from pipelines.files import write_file
    from pipelines.labelling.candidates import candidates_csv
    from pipelines.labelling.doubts import find_doubts
    from pipelines.text.showing import in_one_line
    from pipelines.workflows.open_start import open_linear

    with stages() as on_stage:
        on_stage("reading labels")
        rows = _labelled_rows(source, file, classes)
        model = open_linear(load_settings(), start)[1] if start else None
        found = find_doubts(rows, model, on_stage)
    for message in found.messages:
        note(message)
    if output:
        write_file(output, candidates_csv(found.candidates()))
    if as_json:
        print_json(found)
        return
    table = [
        (d.line, d.label, d.suggestion, d.probability, d.reason, in_one_line(d.text))
        for d in found.doubts[:limit]
    ]
    print_table([rows.unit, "label", "suggestion", "probability", "reason", "text"], table)
    say(
        f"{found.texts:,} texts: {found.wrong:,} probably labelled wrong, {found.contradicted:,} "
        f"contradicted by like texts, {found.ambiguous:,} ambiguous"
    )
    if output:
        say(f"{output}: {len(found.doubts):,} rows to look at")
        print_next(f"label {shlex.quote(str(output))}{_classes_option(rows.classes)}")
    elif len(found.doubts) > limit:
        note(f"{len(found.doubts) - limit:,} more are not shown; --output writes all to a file.")


def _classes_option(classes: Classes) -> str:
    """What tells `olens label` the classes: those of the doubtful rows may be fewer."""
    from pipelines.labels import BINARY, declared_name

    names = ",".join(map(declared_name, classes.names))
    return "" if classes == BINARY else f" --classes {shlex.quote(names)}"


def _labelled_rows(source: str, file: LabelledFile, classes: str | None) -> LabelledRows:
    """The rows of a file, or else of a declared data set."""
    from pipelines.labelling.doubts import dataset_rows, file_rows
    from pipelines.labels import SENTIMENTS, Classes

    if Path(source).is_file() or Path(source).suffix:
        names = [name.strip() for name in classes.split(",")] if classes else SENTIMENTS
        return file_rows(file.open(Path(source), Classes.declared(names)))
    if classes or file != LabelledFile():
        raise typer.BadParameter("conf/params.yaml says how a data set is read")
    return dataset_rows(*_project(), source)


def _print_verifications(found: list[Verification]) -> None:
    for verification in found:
        rows: list[tuple[object, ...]] = [
            (verification.found, len(verification.columns), "columns"),
            ("rows", verification.rows, f"{verification.kept:,} texts are kept"),
        ]
        if not verification.columns:
            rows = []
        rows += [(finding.what, finding.count, finding.then) for finding in verification.findings]
        print_table(["found", "count", "what happens"], rows, title=verification.dataset)


def _project() -> tuple[Settings, Params]:
    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings

    settings = load_settings()
    return settings, load_params(settings.root)

"""`olens data`: the declared data sets and their raw files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, err, out, print_json, print_table, progress, warn

if TYPE_CHECKING:
    from pipelines.datasets.verifying import Verification
    from pipelines.params import Params
    from pipelines.settings import Settings

app = typer.Typer(help="List, download and verify the raw data sets.", no_args_is_help=True)


@app.command("list")
def list_cli(as_json: JsonOption = False) -> None:
    """List the data sets of conf/params.yaml: whether they are there, their rows and classes.

    Example: olens data list --json
    """
    from pipelines.datasets.listing import list_datasets

    settings, params = _project()
    listed = list_datasets(settings, params)
    if as_json:
        print_json(listed)
        return
    rows = [(d.name, d.present, d.rows, d.negative, d.positive, d.prepared) for d in listed]
    print_table(["data set", "present", "rows", "negative", "positive", "prepared from"], rows)
    for dataset in listed:
        if dataset.problem:
            warn(dataset.problem)
        elif not dataset.present:
            err.print(f"Missing: {dataset.path}", soft_wrap=True, markup=False, highlight=False)


@app.command("download")
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
        err.print("The file is there already; --force downloads it again.")
    out.print(done.path, soft_wrap=True, highlight=False, markup=False)
    out.print(f"{done.size:,} bytes, sha256 {done.sha256}", soft_wrap=True, highlight=False)


@app.command("verify")
def verify_cli(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Data sets of conf/params.yaml; all if none."),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Look at the synthetic sample, not the raw files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is in the raw files and what `olens preprocess` will make of it.

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


def _print_verifications(found: list[Verification]) -> None:
    for verification in found:
        rows: list[tuple[object, ...]] = [
            ("columns: " + ", ".join(verification.columns), len(verification.columns), ""),
            ("rows", verification.rows, f"{verification.kept:,} texts are kept"),
        ]
        if not verification.columns:
            rows = []
        rows += [(finding.what, finding.count, finding.then) for finding in verification.findings]
        print_table(["found", "count", "what happens"], rows, title=verification.dataset)


def _project() -> tuple[Settings, Params]:
    from pipelines.params import load_params
    from pipelines.settings import load_settings

    settings = load_settings()
    return settings, load_params(settings.root)

"""`olens init`: make a project folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, note, print_json, print_next, say


def init_cli(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the project; made if it does not exist.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make a project folder: settings, data sets, the DVC pipeline, a .gitignore.

    Files that are there already are kept. Training needs a project; predict, explain, evaluate
    --data, models and doctor work anywhere.

    Example: olens init reviews
    """
    from pipelines.workflows.new_project import init_project

    made = init_project(folder)
    if as_json:
        print_json(made)
        return
    for name in made.written:
        say(name)
    if made.kept:
        note(f"Kept as they are: {', '.join(made.kept)}")
    say("Declare your data sets in conf/params.yaml and put their files into data/raw.")
    print_next("data list", "data download imdb", "quickstart", folder=made.folder)

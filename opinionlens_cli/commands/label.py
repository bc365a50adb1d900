"""`olens label`: a page on which people label texts, and a model learns from them."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from opinionlens_cli.console import note
from opinionlens_cli.options import (
    NAMES,
    EncodingOption,
    HeaderOption,
    SeparatorOption,
    SheetOption,
    TextColumnOption,
)

ClassesOption = Annotated[
    str | None,
    typer.Option(
        help="What the texts may be, with commas between.  [default: negative,positive]",
        show_default=False,
    ),
]
PersonOption = Annotated[
    str | None,
    typer.Option("--as", help="Your name beside your labels.  [default: that of your account]"),
]


def label_cli(
    data: Annotated[
        Path,
        typer.Argument(
            help="A file of texts: CSV, TSV, JSONL, JSON, Parquet, Excel or lines, compressed or "
            "not."
        ),
    ],
    text_column: TextColumnOption = None,
    classes: ClassesOption = None,
    project: Annotated[
        str | None, typer.Option(help="Project of the labels.  [default: the name of the file]")
    ] = None,
    person: PersonOption = None,
    start: Annotated[
        str,
        typer.Option(
            "--from", help=f"Linear model to start from, of negative and positive: {NAMES}."
        ),
    ] = "base",
    host: Annotated[
        str, typer.Option(help="Address to listen on; other people need another one.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(help="Port; 0 takes a free one.  [default: serving.port]", min=0, max=65535),
    ] = None,
    encoding: EncodingOption = None,
    separator: SeparatorOption = None,
    header: HeaderOption = None,
    sheet: SheetOption = None,
) -> None:
    """Label texts on a page, with a model that learns from every few labels.

    It shows the texts that the model knows least about, and one in five at random: on those it is
    measured, and it never learns from them. Labels are stored at once; the same command goes on
    where you stopped. Ctrl-C ends the page.

    Of a file of `olens data doubts` or `olens feedback export`, it shows with each text what it was
    called and what it may be instead.

    Example: olens label reviews.csv --text-column body --classes negative,neutral,positive
    """
    from opinionlens_server.serve import serve
    from pipelines.config.settings import load_settings
    from pipelines.tables.options import Options
    from pipelines.tables.reading import open_table
    from pipelines.workflows.label import Labelling, project_name

    settings = load_settings()
    options = Options(encoding=encoding, separator=separator, header=header, sheet=sheet)
    name = project or project_name(data.name)
    added = Labelling(settings).add_texts(
        open_table(data, options=options), name, text_column, class_names(classes), start
    )
    for message in added.messages:
        note(message)
    note(f"Project {name}: {added.texts:,} texts, {added.new:,} of them new.")
    page = urlencode({"next": f"/label/{name}", "name": who(person)})
    serve(settings, host, port, page=page)


def class_names(classes: str | None) -> list[str]:
    """The names in a list with commas between."""
    return [name.strip() for name in (classes or "").split(",") if name.strip()]


def who(name: str | None) -> str:
    """The name of the person who labels.

    Raises
    ------
    InputError
        If it is blank or too long.
    """
    from pipelines.workflows.label import person

    return person(name if name is not None else _account())


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in containers
        return "me"

"""What all commands share in how they talk: colours, tables, progress, JSON, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress

out = Console()
"""For results."""
err = Console(stderr=True)
"""For progress, warnings and errors, so that standard output can be piped."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def print_json(value: object) -> None:
    """Print `value` (plain data or msgspec structs) as JSON on standard output."""
    import sys

    import msgspec

    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2)
    sys.stdout.write(encoded.decode() + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None
) -> None:
    """Print a table; numbers are right-aligned."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = rows and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out.print(table)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    err.print(f"[yellow]Warning:[/] {_escape(message)}", soft_wrap=True)


def fail(message: str) -> None:
    """Print an error on standard error."""
    err.print(f"[bold red]Error:[/] {_escape(message)}", soft_wrap=True)


def progress() -> Progress:
    """A progress bar on standard error that leaves nothing behind; silent when not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else _escape(str(value))


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)

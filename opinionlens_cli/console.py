"""Output of all commands: tables, progress, JSON, errors, the next command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import sysconfig
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console, ConsoleDimensions

from pipelines.text.showing import showable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.progress import Progress
    from rich.table import Table

    from pipelines.registry.artifacts import OnProgress
    from pipelines.training.adaptation import Kind
    from pipelines.training.evaluation import Metrics

    OnRows = Callable[[int, float], None]
    """Told the rows so far, and their share of all, 0 to 1."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_REPOSITORY: Final = "https://github.com/opinionlens/opinionlens"
ISSUES: Final = f"{_REPOSITORY}/issues"

_PIPE_WIDTH: Final = 10_000

# JSON may hold them, a terminal must not get them.
_NOT_ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class _Output(Console):
    """A console that breaks lines on terminals only: a pipe takes them as long as they are."""

    @property  # type: ignore[misc]  # Rich's can be set, ours is not
    def size(self) -> ConsoleDimensions:
        found = super().size
        if self.is_terminal or "COLUMNS" in os.environ:
            return found
        return ConsoleDimensions(_PIPE_WIDTH, found.height)


out = _Output()
"""For results."""
err = Console(stderr=True)
"""For progress, warnings and errors, so that standard output can be piped."""


def docs(page: str) -> str:
    """The line below a command's help that leads to its page in the documentation."""
    return f"Docs: {_REPOSITORY}/blob/main/docs/{page}.md"


def print_json(value: object) -> None:
    """Print `value` (plain data or msgspec structs) as JSON on standard output."""
    import msgspec

    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
    sys.stdout.write(_NOT_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded) + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None
) -> None:
    """Print a table; numbers are right-aligned, and only prose is broken into lines.

    Where the terminal is too narrow for that, each row is printed as lines of its own.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    table = _table(columns, rows, cells, title)
    if out.measure(table, options=out.options.update(max_width=_PIPE_WIDTH)).minimum <= out.width:
        out.print(table)
    else:
        _print_stacked(columns, cells, title)


def print_metrics(
    metrics: Mapping[str, Metrics], title: str | None = None, kind: str = "slice"
) -> None:
    """Print a table with a row of metrics for each slice, or for each `kind` of other things."""
    columns = [kind, "n", "accuracy", "f1", "roc_auc", "log_loss", "ece"]
    rows = [
        (name, m.n, m.accuracy, m.f1, m.roc_auc, m.log_loss, m.ece) for name, m in metrics.items()
    ]
    print_table(columns, rows, title)


def print_learnt(learnt: Kind, start: str, chosen_by: str) -> None:
    """Say which won: the start as it is, a model from scratch, or both together."""
    won = {
        "start": f"{start} as it is, calibrated on your texts: they taught it nothing new",
        "scratch": "your texts alone: what the start knows did not help",
        "adapted": f"{start} and your texts together",
    }
    say(f"{chosen_by} chose {won[learnt]}.")


def print_next(*arguments: str, folder: Path | None = None, new_terminal: bool = False) -> None:
    """Print the `olens` commands that come next, so that they can be copied.

    They are to be typed in `folder`, where that is not where the user is, or in a new terminal,
    which may not find `olens` by its name.
    """
    here = folder is None or (folder == Path.cwd() and not new_terminal)
    command = _command(folder or Path.cwd(), new_terminal)
    lines = [f"{command} {each}" for each in arguments]
    if not here:
        lines.insert(0, f"cd {shlex.quote(str(folder))}")
    if len(lines) == 1:
        text = f"Next: {lines[0]}"
    else:
        title = "Next, in a new terminal:" if new_terminal else "Next:"
        text = "\n  ".join([title, *lines])
    say(text)


def say(text: str) -> None:
    """Print a line of the result as it is: safe, not broken, without colours."""
    out.print(showable(text), markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print a line about the result on standard error, as `say` does."""
    err.print(showable(text), style="dim", markup=False, highlight=False, soft_wrap=True)


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


@contextmanager
def downloading(what: str) -> Iterator[OnProgress]:
    """Yield a callback for the bytes so far and in total; a bar appears at the first call."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task(f"Fetching {showable(what)}", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


@contextmanager
def rows_progress(what: str) -> Iterator[OnRows]:
    """Yields what is told the rows so far and the share of the whole: rows/s and the time left."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task(showable(what), total=1.0, rows="")
        started = time.monotonic()

        def on_rows(rows: int, share: float) -> None:
            rate = rows / max(1e-9, time.monotonic() - started)
            bar.update(task, completed=share, rows=f"{rows:,} rows, {rate:,.0f} rows/s")

        yield on_rows


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Yield a callback for stages: a spinner, or a line where there is no terminal."""
    if not err.is_terminal:
        yield lambda stage: err.print(f"{stage} ...", style="dim")
        return
    with err.status("starting") as status:
        yield lambda stage: status.update(stage)


# Tables

_PROSE: Final = re.compile(r"\S+ \S+ \S|, ")
"""Three words or a list: dates, IDs and numbers are not broken into lines."""


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    cells: Sequence[Sequence[str]],
    title: str | None,
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title and Text(showable(title), style="italic"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for index, column in enumerate(columns):
        numeric = rows and all(isinstance(row[index], int | float) for row in rows)
        prose = any(_PROSE.search(row[index]) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=not prose)
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _print_stacked(
    columns: Sequence[str], cells: Sequence[Sequence[str]], title: str | None
) -> None:
    """Print each row as lines of a column's name and its value."""
    width = max(map(len, columns))
    blocks = [
        "\n".join(
            f"{column:{width}}  {cell}".strip() for column, cell in zip(columns, row, strict=True)
        )
        for row in cells
    ]
    text = "\n\n".join([*([showable(title)] if title else []), *blocks])
    say(f"{text}\n")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else showable(str(value))


def _command(folder: Path, new_terminal: bool) -> str:
    """The command for `olens` in `folder`, in this terminal or in a new one."""
    script = Path(sysconfig.get_path("scripts")) / "olens"
    search = os.environ.get("PATH", os.defpath).split(os.pathsep)
    # What activating an environment puts there is not in a new terminal.
    if new_terminal and sys.prefix in (os.getenv("VIRTUAL_ENV"), os.getenv("CONDA_PREFIX")):
        search = [each for each in search if Path(each) != script.parent]
    found = shutil.which("olens", path=os.pathsep.join(search))
    if not script.exists() or (found and Path(found).resolve() == script.resolve()):
        return "olens"
    inside = script.is_relative_to(folder) and folder != Path(folder.anchor)
    return shlex.quote(str(script.relative_to(folder) if inside else script))


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(showable(text))

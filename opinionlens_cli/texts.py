"""Texts as commands take them: arguments, or standard input."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path
from typing import Final

import typer

from opinionlens_cli.console import warn
from pipelines.batch.stores import is_url
from pipelines.tables.columns import is_text_name

_LOOKED_AT: Final = 20
"""Lines of standard input that are tested for a table."""
_LONGEST: Final = 2_000
"""Characters of each line that are tested."""
_TABLES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx", ".txt", ".gz", ".zip")


def read_texts(arguments: list[str] | None, lines: bool) -> list[str]:
    """The texts of the command line, or the lines of standard input that are not blank.

    `lines` says that every line is a text, whatever it looks like.

    Raises
    ------
    typer.BadParameter
        If there is no text, or what was given is a file or a table.
    """
    if arguments:
        _refuse_files(arguments)
        return [_decoded(text) for text in arguments]
    # Not splitlines: a form feed or U+2028 inside a text does not end its line.
    found = [line for line in _standard_input().replace("\r\n", "\n").split("\n") if line.strip()]
    if not found:
        raise typer.BadParameter("standard input holds no text", param_hint="TEXT")
    if not lines:
        _notice_table(found[:_LOOKED_AT])
    return found


def read_text(argument: str | None) -> str:
    """The text of the command line; all of standard input if it is None or ``-``.

    Raises
    ------
    typer.BadParameter
        If there is no text, or what was given is a file.
    """
    if argument is None or argument == "-":
        argument = _standard_input()
    else:
        _refuse_files([argument])
        argument = _decoded(argument)
    if not argument.strip():
        raise typer.BadParameter("the text is empty", param_hint="TEXT")
    return argument


def _standard_input() -> str:
    if sys.stdin.isatty():
        raise typer.BadParameter("give a text, or pipe one in", param_hint="TEXT")
    content = sys.stdin.buffer.read()
    if b"\0" in content[:_LONGEST]:
        raise typer.BadParameter(
            "standard input is no text in UTF-8. For a file of another kind or encoding: olens "
            "predict --data FILE",
            param_hint="TEXT",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        warn(
            f"Standard input is not UTF-8: byte {error.start:,} and others are read as U+FFFD. "
            "olens predict --data FILE finds the encoding of a file."
        )
        return content.decode("utf-8-sig", "replace")


def _decoded(argument: str) -> str:
    """The argument with U+FFFD in place of bytes that are not UTF-8."""
    return argument.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _refuse_files(arguments: list[str]) -> None:
    for text in arguments:
        if not text.strip():
            raise typer.BadParameter("the text is empty", param_hint="TEXT")
        if what := _what_is_there(text):
            raise typer.BadParameter(f"{text} is {what}, not a text. {_meant(text)}")
        if text.lower().endswith(_TABLES) and not any(map(str.isspace, text)):
            raise typer.BadParameter(f"{text} looks like a file, but there is no such file")


def _what_is_there(text: str) -> str | None:
    """What `text` names on the disk or in a bucket, if it is no text."""
    if is_url(text) and not any(map(str.isspace, text)) and not text.startswith("http"):
        return "the URL of a file or folder"
    try:
        path = Path(text)
        return "a folder" if path.is_dir() else "a file" if path.is_file() else None
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return None


def _meant(name: str) -> str:
    """The command for the file or the folder called so."""
    quoted = shlex.quote(name)
    if Path(name).suffix.lower() == ".txt":
        return f"To judge its lines: olens predict < {quoted}"
    return f"To judge its rows: olens predict --data {quoted}"


def _notice_table(lines: list[str]) -> None:
    """Refuse rows of a table; warn of a first line that looks like the name of a column."""
    if _is_object(lines[0]):
        raise _table("its first line is a JSON object")
    for separator in ",;\t|":
        rows = list(csv.reader((line[:_LONGEST] for line in lines), delimiter=separator))
        width = len(rows[0])
        alike = sum(len(row) == width for row in rows)
        # Half of them: a text may hold a separator, or be broken into lines.
        if width > 1 and any(map(is_text_name, rows[0])) and 2 * alike >= len(rows):
            raise _table(f"its first line names {width} columns")
    first = lines[0].strip().strip('"')
    if is_text_name(first) and len(lines) > 1:
        warn(
            f"The first line is {first!r}, which looks like the name of a column. It is judged as "
            "every other line is."
        )


def _table(reason: str) -> typer.BadParameter:
    return typer.BadParameter(
        f"standard input is a table: {reason}. To judge its rows: olens predict --data FILE. To "
        "judge every line as it is: --lines",
        param_hint="TEXT",
    )


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False

"""Results: rows of one table, also kept as JSON."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

_COMPARED: Final = ("fasttext", "scikit-learn", "vaderSentiment", "pandas", "numba", "polars")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison.

    Attributes
    ----------
    what : str
    ours, theirs : float or None
        Measured values, in `unit`.
    rival : str
        Whom `theirs` belongs to.
    ratio : float or None
        How many times better we are, where that makes sense.
    target : str
        What is aimed at, in words; empty: nothing.
    reached : bool or None
        Whether it was; None without a target.
    note : str
    """

    what: str
    unit: str
    ours: float | None = None
    rival: str = ""
    theirs: float | None = None
    ratio: float | None = None
    target: str = ""
    reached: bool | None = None
    note: str = ""


def print_table(results: Sequence[Result]) -> None:
    """Print the results as one table."""
    table = Table(title="OpinionLens and its rivals, in one run")
    for name, justify in _COLUMNS:
        table.add_column(name, justify=justify, overflow="fold")
    for row in results:
        table.add_row(
            row.what,
            _number(row.ours, row.unit),
            row.rival,
            _number(row.theirs, row.unit),
            "" if row.ratio is None else f"{row.ratio:.1f} x",
            row.target,
            {True: "PASS", False: "FAIL", None: ""}[row.reached],
            row.note,
        )
    # Wide enough for a file or a pipe, where there is no terminal to ask.
    console = Console(soft_wrap=False)
    (console if console.is_terminal else Console(width=150)).print(table)


_COLUMNS: Final = (
    ("what", "left"),
    ("ours", "right"),
    ("rival", "left"),
    ("theirs", "right"),
    ("ratio", "right"),
    ("target", "left"),
    ("", "left"),
    ("note", "left"),
)


def write_json(path: Path, results: Sequence[Result], processors: int, load: float) -> None:
    """Write the results and what they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": processors,
        "load_before": load,
        "versions": {name: version(name) for name in _COMPARED},
        "results": results,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "%":
        return f"{100 * value:.2f} %"
    if unit == "":
        return f"{value:.2g}"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"

"""Findings about a file: its format, the guesses, and the rows left out with their reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

_SHOWN: Final = 5
_NAME_LENGTH: Final = 40
_NAMES: Final = 12


class LeftOut(msgspec.Struct, frozen=True):
    """A row that could not be read."""

    row: int
    """Its number among the rows of the file, from 1."""
    line: int
    """The line on which it begins, from 1; for Parquet the row."""
    reason: str


class Count(msgspec.Struct):
    """The number of findings of one kind, and the first lines."""

    rows: int = 0
    lines: list[int] = []

    def add(self, rows: int, lines: Iterable[int]) -> None:
        """Count `rows` more; of `lines` the first are remembered."""
        self.rows += rows
        for line, _ in zip(lines, range(_SHOWN - len(self.lines)), strict=False):
            self.lines.append(line)


class Findings(msgspec.Struct):
    """Facts about a file, collected while it is read."""

    rows: int = 0
    """Rows of the file, those left out and blank ones too."""
    left_out: dict[str, Count] = {}
    """Rows that could not be read, by reason."""
    noted: dict[str, Count] = {}
    """Rows that were read although something was odd about them."""
    unit: str = "line"

    @property
    def lost(self) -> int:
        """Number of rows left out."""
        return sum(count.rows for count in self.left_out.values())

    def leave_out(self, rows: Sequence[LeftOut]) -> None:
        """Count rows that could not be read."""
        for row in rows:
            self.left_out.setdefault(row.reason, Count()).add(1, [row.line])

    def note(self, what: str, lines: Iterable[int], rows: int = 1) -> None:
        """Count rows that were read."""
        self.noted.setdefault(what, Count()).add(rows, lines)

    def messages(self) -> list[str]:
        """One sentence for each reason and each oddity, with the first lines where."""
        return [
            *(self._say(count, f"left out: {what}") for what, count in self.left_out.items()),
            *(self._say(count, what) for what, count in self.noted.items()),
        ]

    def _say(self, count: Count, what: str) -> str:
        rows = f"{count.rows:,} row{'s' * (count.rows != 1)}"
        return f"{rows} {what} ({numbered(self.unit, count.lines, count.rows)})"


def numbered(unit: str, lines: Sequence[int], total: int) -> str:
    """`line 3`, or `lines 3, 4, 9, ...`."""
    more = ", ..." if total > len(lines) else ""
    return f"{unit}{'s' * (total != 1)} {', '.join(f'{line:,}' for line in lines)}{more}"


def quoted_names(names: Sequence[str]) -> str:
    """Names for a message: the first few, none of them long."""
    shown = ", ".join(shortened(name) for name in names[:_NAMES])
    hidden = len(names) - _NAMES
    return f"{shown} and {hidden:,} more" if hidden > 0 else shown or "none"


def shortened(text: str, length: int = _NAME_LENGTH) -> str:
    """`text` on one line and, if it is longer than `length`, its beginning."""
    line = "".join(char if char.isprintable() else " " for char in text[: length + 1])
    return line if len(text) <= length else line[: length - 1] + "…"

"""Options for reading a file, and limits of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from pipelines.errors import DataError

Advice = Callable[[str, str], str]
"""The spelling of an option in advice: `("encoding", "utf-16")` -> `--encoding utf-16`."""

_NAMED_SEPARATORS: Final = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
}


def as_flag(key: str, value: str) -> str:
    """The option of a command."""
    if key == "header":
        return "--no-header" if value == "false" else "--header"
    return f"--{key} {value}"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the user; None: detected."""

    encoding: str | None = None
    """A Python codec name, or ``utf-8-replace``: what is not UTF-8 becomes U+FFFD."""
    separator: str | None = None
    """One ASCII character, or `tab`, `comma`, `semicolon`, `pipe`, `space`."""
    header: bool | None = None
    """Whether the first row names the columns."""
    sheet: str | None = None
    """Of an Excel file, by name or number from 1; None: the first that is not empty."""
    advice: Advice = as_flag

    def separator_byte(self) -> int | None:
        """The separator as a byte.

        Raises
        ------
        DataError
            If it is not one ASCII character.
        """
        if self.separator is None:
            return None
        separator = _NAMED_SEPARATORS.get(self.separator.lower(), self.separator)
        if len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0':
            raise DataError(
                f"separator = {self.separator[:20]!r}: must be one ASCII character, such as "
                "',', ';', '|' or 'tab'."
            )
        return ord(separator)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a file in memory."""

    columns: int = 2_000
    record: int = 64 << 20
    """Bytes of one row."""
    unpacked: int | None = None
    """Bytes of the whole file once it is decompressed; None: any number."""
    cells: int = 20_000_000
    """Cells of an Excel sheet, which is held in memory, blank ones between others too."""
    batch: int = 4 << 20
    """Bytes that are read at once."""
    batch_cells: int = 1_000_000
    """Cells of one batch; a file of many columns comes in batches of fewer rows."""

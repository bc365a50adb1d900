"""Uploaded files with a text in each row, read within the limits of the settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from opinionlens_server.http.problems import too_large
from opinionlens_server.models.predictor import WARM_UP_SECONDS
from pipelines.batch.verdicts import ADDED
from pipelines.config.settings import Serving
from pipelines.errors import DataError, InputError
from pipelines.labels import BINARY, Classes
from pipelines.tables.options import Limits, Options
from pipelines.tables.reading import ENDINGS, open_table
from pipelines.tables.results import ResultWriter
from pipelines.tables.table import Batch, Table
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    import polars as pl

    from pipelines.tables.labelled import LabelledTable

ACCEPTED: Final = ",".join((*ENDINGS, ".gz", ".zst", ".zip"))
"""File types that the page's file field accepts."""

COLUMNS: Final = 1_000
CELLS: Final = 2_000_000
"""Of a file that is sent back with all its columns, and of an Excel sheet."""
UNPACKED: Final = 5
"""Largest unpacked size of a compressed file, as a multiple of the largest body."""

SHOWN_NOTES: Final = 10
PREVIEW_ROWS: Final = 5
SHOWN_CHARACTERS: Final = 120
"""Of a cell of the preview."""
NO_LABELS: Final = "0"
"""The choice of a label column that means none; columns are numbered from 1."""


class Choice(msgspec.Struct, frozen=True):
    """What the form says about a file; what it leaves out is detected."""

    column: str = ""
    """The column of the texts, by name or number."""
    sheet: str = ""
    header: bool | None = None
    """Whether the first row names the columns."""
    label: str = ""
    """The column of the labels, by name or number; `NO_LABELS`: none."""
    by: str = ""
    """The column that breaks the file down; empty: none."""


class Preview(msgspec.Struct, frozen=True):
    """The first rows of a file, to choose from."""

    table: Table
    column: str
    label: str
    """Empty: none."""
    rows: list[list[str]]
    choice: Choice


class Upload(msgspec.Struct, frozen=True):
    """An uploaded file."""

    name: str
    table: Table
    column: str
    """The column of the texts."""
    label: str
    """The column of the labels; empty: none."""
    by: str
    """The column that breaks the file down; empty: none."""
    texts: list[str]
    """One for each row that could be read; empty if the row has none."""
    batches: list[Batch]
    notes: list[str]
    """The format of the file, and the rows that were left out."""

    @property
    def columns(self) -> list[str]:
        """The columns to choose from."""
        return self.table.columns

    def values(self, column: str) -> pl.Series | None:
        """The cells of a column that was read; None for no column."""
        import polars as pl

        return pl.concat([batch.frame[column] for batch in self.batches]) if column else None

    @property
    def numbers(self) -> pl.Series:
        """The number of each row in the file."""
        import polars as pl

        return pl.concat([batch.rows for batch in self.batches])


def preview(name: str, content: bytes, choice: Choice, limits: Serving) -> Preview:
    """The first rows of a file, and what was detected.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        table = open_upload(name, content, choice, limits)
        known = table.columns
        column = table.text_column(choice.column if choice.column in known else None)
        label = _label_column(table, choice.label if choice.label in known else "", column)
        rows = [
            [in_one_line(cell or "", SHOWN_CHARACTERS) for cell in row]
            for row in table.sample.head(PREVIEW_ROWS).iter_rows()
        ]
    except DataError as error:
        raise InputError(str(error)) from None
    return Preview(table, column, "" if choice.label == NO_LABELS else label, rows, choice)


def read_upload(
    name: str, content: bytes, choice: Choice, limits: Serving, *, whole: bool
) -> Upload:
    """Read a file of rows.

    Parameters
    ----------
    name : str
        Name of the file.
    content : bytes
    choice : Choice
        What the form says about it.
    limits : Serving
        The largest number of rows, and the longest text.
    whole : bool
        Whether all columns are needed, or only those of the choice.

    Raises
    ------
    InputError
        If the file cannot be read; the message names its format or the invalid line.
    HTTPException
        With status 413, if it has more rows, or a longer text, than the settings allow.
    """
    try:
        table = open_upload(name, content, choice, limits)
        chosen = table.text_column(choice.column)
        label = _label_column(table, choice.label, chosen)
        by = table.column(choice.by) if choice.by else ""
        wanted = [column for column in (chosen, label, by) if column]
        batches, texts = [], list[str]()
        for batch in table.batches(None if whole else wanted, typed=whole):
            texts += batch.frame[chosen].fill_null("").to_list()
            batches.append(batch)
            _check(table, chosen, batch, limits)
            if whole:
                _check_cells(table)
    except DataError as error:
        raise InputError(str(error)) from None
    if not texts:
        raise InputError(f"There is no row in {name}.")
    # The download has no room for messages about renamed columns.
    messages = [*table.messages(), *ResultWriter(table, ADDED).messages][:SHOWN_NOTES]
    return Upload(name, table, chosen, label, by, texts, batches, [table.describe(), *messages])


class LabelChoice(msgspec.Struct, frozen=True):
    """What the form says about a labelled file, as for `olens adapt`; empty: detected."""

    text_column: str = ""
    label_column: str = ""
    labels: str = ""
    drop: str = ""


def open_labelled(
    name: str,
    content: bytes,
    limits: Serving,
    choice: LabelChoice | None = None,
    classes: Classes = BINARY,
) -> LabelledTable:
    """A file whose labels are understood, for a model of certain classes.

    Raises
    ------
    InputError
        If the file cannot be read, has too many rows, or it is not clear what a label means.
    """
    from pipelines.tables.labelled import LabelledTable

    choice = choice or LabelChoice()
    try:
        labelled = LabelledTable(
            open_upload(name, content, Choice(), limits),
            choice.text_column or None,
            choice.label_column or None,
            choice.labels or None,
            [value for value in choice.drop.split(",") if value.strip()],
            classes,
        )
    except DataError as error:
        raise InputError(_named_as_fields(str(error))) from None
    if sum(labelled.counts.values()) > limits.max_file_rows:
        raise InputError(f"{name} has more than {limits.max_file_rows:,} labels, the limit here.")
    return labelled


def read_labelled(
    name: str, content: bytes, limits: Serving, classes: Classes
) -> tuple[pl.DataFrame, list[str]]:
    """The labelled rows of a file, and what its labels are thought to mean.

    Returns
    -------
    tuple of pl.DataFrame and list of str
        ``text`` (String) and ``label`` (Int8, the number of the class); sentences for the user.

    Raises
    ------
    InputError
        As `open_labelled` does.
    """
    import polars as pl

    labelled = open_labelled(name, content, limits, classes=classes)
    try:
        return pl.concat(labelled.batches()), labelled.messages()
    except DataError as error:
        raise InputError(str(error)) from None


def _named_as_fields(message: str) -> str:
    """The message with the fields of the form in place of the options of the command line."""
    for option, field in (("--labels", "What the labels mean"), ("--drop", "Labels to leave out")):
        message = message.replace(f"{option} '", f"“{field}”: '").replace(option, f"“{field}”")
    return message


def open_upload(name: str, content: bytes, choice: Choice, limits: Serving) -> Table:
    if not name:
        raise InputError("No file was chosen. Choose a CSV, Excel, JSONL, Parquet or TXT file.")
    options = Options(header=choice.header, sheet=choice.sheet or None, advice=_advice)
    return open_table(content, name, options, _limits(limits))


def _label_column(table: Table, wanted: str, texts: str) -> str:
    """The column of the labels; empty if there is none, or none is wanted."""
    if wanted == NO_LABELS:
        return ""
    try:
        found = table.label_column(wanted or None)
    except DataError:
        if wanted:
            raise
        return ""
    return "" if found == texts else found


async def warm_up() -> None:
    """Load the modules that read files, or the first file would take seconds.

    It runs after the start, so as not to delay it.
    """
    await asyncio.sleep(WARM_UP_SECONDS)
    await asyncio.to_thread(read_upload, "a.csv", b"text\nwarm\n", Choice(), Serving(), whole=True)


def _limits(limits: Serving) -> Limits:
    size = limits.max_body_size
    return Limits(
        columns=COLUMNS,
        record=size,
        unpacked=UNPACKED * size,
        cells=CELLS,
        batch=1 << 20,
        batch_cells=200_000,
    )


def _advice(key: str, value: str) -> str:
    if key == "header":
        return "choose what the first row is"
    return f"save it as UTF-8 (it may be {value})" if key == "encoding" else f"{key} {value}"


def _check(table: Table, column: str, batch: Batch, limits: Serving) -> None:
    """Raise an error for a file with too many rows or too long a text."""
    if table.findings.rows > limits.max_file_rows:
        raise too_large(
            f"{table.name} has more than {limits.max_file_rows:,} rows, which is the limit here."
        )
    lengths = batch.frame[column].str.len_chars()
    too_long = (lengths > limits.max_text_length).arg_true()
    if len(too_long):
        at = int(too_long[0])
        raise too_large(
            f"The text in row {batch.rows[at]:,} of {table.name} has {lengths[at]:,} characters. "
            f"The limit here is {limits.max_text_length:,}."
        )


def _check_cells(table: Table) -> None:
    """Short rows are small in a file, but not once they have all their columns."""
    if table.findings.rows * len(table.columns) > CELLS:
        raise too_large(
            f"{table.name} has more than {CELLS:,} cells, which is the limit here. Send fewer "
            "rows or columns."
        )

"""Raw files: a declared CSV, Parquet or JSONL file -> batches of texts and labels.

Only the two declared columns are read, batch by batch, so a file may be larger than the memory.
What is not as declared is an error that says where it stands and what to do.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal

import msgspec

from pipelines.datasets.writing import explained
from pipelines.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from pipelines.params import Dataset, Params
    from pipelines.settings import Settings

NEGATIVE: Final = 0
POSITIVE: Final = 1

Format = Literal["csv", "parquet", "jsonl"]
_FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_BATCH_ROWS: Final = 50_000
_CHUNK_BYTES: Final = 1 << 20
_SHOWN_VALUES: Final = 5
_SHOWN_LINES: Final = 3
_UTF8: Final = "utf-8-sig"
_REPLACE: Final = "utf-8-replace"
_ROW: Final = "__row"
# Written by pandas when an integer column has gaps, and by JSON encoders: 5.0 means 5.
_WHOLE_NUMBER: Final = r"^([+-]?\d+)\.0*$"


class Source(msgspec.Struct, frozen=True):
    """A raw file, how it is declared and, if it stands in ``conf/params.yaml``, its name there."""

    path: Path
    declaration: Dataset
    name: str = ""

    @property
    def where(self) -> str:
        """Where the user changes the declaration."""
        return f"datasets.{self.name} in conf/params.yaml" if self.name else "conf/params.yaml"

    @property
    def correction(self) -> str:
        """What to do about a column that is not there or not usable."""
        return f"Correct {self.where}." if self.name else "Name another column."


class BadByte(msgspec.Struct, frozen=True):
    """A byte outside the declared encoding, its offset (from 0) and its line (from 1)."""

    value: int
    offset: int
    line: int


class UnknownLabels:
    """Counts the label values that no declaration mentions, and remembers where they stand."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._first_rows: dict[str, list[int]] = {}

    def add(self, rows: pl.DataFrame) -> None:
        """Take in `rows` with the columns ``value`` and ``row``."""
        import polars as pl

        found = rows.group_by("value", maintain_order=True).agg(
            pl.len(), pl.col("row").head(_SHOWN_LINES)
        )
        for value, count, first in found.iter_rows():
            self.counts[value] = self.counts.get(value, 0) + count
            known = self._first_rows.setdefault(value, [])
            known.extend(first[: _SHOWN_LINES - len(known)])

    def check(self, source: Source) -> None:
        """Raise a `DataError` that lists them, if there are any."""
        if not self.counts:
            return
        commonest = sorted(self.counts, key=lambda value: (-self.counts[value], value))
        shown = commonest[:_SHOWN_VALUES]
        found = "; ".join(self._describe(value, source) for value in shown)
        hidden = len(commonest) - len(shown)
        more = f"; and {hidden:,} more values" if hidden else ""
        declaration = source.declaration
        raise DataError(
            f"{source.path}: column {declaration.label!r} holds undeclared labels: {found}{more}. "
            f"Add each to {source.where}: under labels.negative or labels.positive, or, to leave "
            f"its rows out, as drop: [{', '.join([*declaration.drop, *shown])}]."
        )

    def _describe(self, value: str, source: Source) -> str:
        rows = self._first_rows[value]
        places = ", ".join(f"{line:,}" for line in line_numbers(source, rows))
        unit = "row" if file_format(source.path) == "parquet" else "line"
        etc = ", ..." if self.counts[value] > len(rows) else ""
        plural = "" if len(rows) == 1 else "s"
        count = self.counts[value]
        return f"{value!r} ({count:,} row{'' if count == 1 else 's'}, {unit}{plural} {places}{etc})"


def find_source(settings: Settings, params: Params, name: str, *, sample: bool = False) -> Source:
    """The file of the data set `name`, below ``paths.raw`` or, with `sample`, ``paths.sample``.

    Raises
    ------
    DataError
        If no data set of that name is declared. Whether the file exists is not looked at.
    """
    check_names(params, [name])
    declaration = params.datasets[name]
    folder = settings.paths.sample if sample else settings.paths.raw
    return Source(folder / declaration.path, declaration, name)


def check_names(params: Params, names: Sequence[str]) -> None:
    """Raise a `DataError` for the first of `names` that ``conf/params.yaml`` does not declare."""
    for name in names:
        if name not in params.datasets:
            raise DataError(
                f"No data set {name!r} is declared in conf/params.yaml"
                f"{_suggestion(name, list(params.datasets))} "
                f"Declared are: {', '.join(params.datasets)}."
            )


def read_batches(source: Source) -> Iterator[pl.DataFrame]:
    """Read the two declared columns, batch by batch in the order of the file.

    Yields
    ------
    pl.DataFrame
        ``row`` (UInt32, from 0), ``text`` (String, null where the file has nothing), ``value``
        (String, the label as written but for letter case, outer white space and a whole number's
        ``.0``; null where blank), ``label`` (Int8, 0 negative, 1 positive, null for any other).

    Raises
    ------
    DataError
        If the file is missing, unreadable, malformed, in another encoding, or lacks a column.
    """
    import polars as pl

    check_file(source)
    codes = _label_codes(source.declaration)
    with _readable(source) as path:
        frame = _select(_scan(source, path), source, path).with_columns(
            label=pl.col("value").replace_strict(codes, default=None, return_dtype=pl.Int8)
        )
        yield from frame.collect_batches(chunk_size=_BATCH_ROWS, lazy=True)


def read_labelled(path: Path, dataset: Dataset) -> pl.DataFrame:
    """Read a labelled file as it is: nothing is normalised and duplicates stay.

    Rows with a blank label, a label that `dataset` drops or no text at all are left out.

    Returns
    -------
    pl.DataFrame
        ``text`` (String) and ``label`` (Int8, 0 negative, 1 positive), in the order of the file.

    Raises
    ------
    DataError
        As `read_batches`, and for undeclared labels or when no row remains.
    """
    import polars as pl

    source = Source(path, dataset)
    unknown = UnknownLabels()
    parts = []
    for batch in read_batches(source):
        unknown.add(undeclared(batch, dataset))
        parts.append(batch.select("text", "label").drop_nulls())
    unknown.check(source)
    labelled = pl.concat(parts) if parts else pl.DataFrame()
    if labelled.is_empty():
        raise DataError(f"{path} has no row with a text and a label")
    return labelled


def undeclared(batch: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """The rows of a batch whose label stands neither in `labels` nor in `drop`."""
    import polars as pl

    left_out = [canonical_label(value) for value in dataset.drop]
    return batch.filter(
        pl.col("label").is_null()
        & pl.col("value").is_not_null()
        & ~pl.col("value").is_in(left_out or [""])
    )


def canonical_label(value: str) -> str:
    """A declared label value in the form in which labels are compared."""
    return re.sub(_WHOLE_NUMBER, r"\1", value.strip().lower())


def file_format(path: Path) -> Format:
    """What kind of file `path` is, by its ending.

    Raises
    ------
    DataError
        For any other ending.
    """
    ending = path.with_suffix("").suffix if _is_gzip(path) else path.suffix
    found = _FORMATS.get(ending.lower())
    if found is None or (found == "parquet" and _is_gzip(path)):
        raise DataError(
            f"{path}: cannot tell what kind of file this is. Its name must end in "
            f"{', '.join(_FORMATS)}, or one of the text formats and .gz."
        )
    return found


def check_file(source: Source) -> None:
    """Raise a `DataError` unless there is a file that could be read."""
    path = source.path
    file_format(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file. Correct the path of {source.where}.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. {_how_to_get(source)}")
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not first:
        raise DataError(f"{path} is empty")


def check_columns(source: Source) -> list[str]:
    """Check that the file can be opened and has the declared columns; returns all their names.

    Raises
    ------
    DataError
        As `read_batches`.
    """
    check_file(source)
    with _readable(source) as path:
        _select(_scan(source, path), source, path)
        return _columns(source, path)


def starts_with_bom(path: Path) -> bool:
    """Whether a text file begins with the byte order mark of UTF-8, which is skipped."""
    if file_format(path) == "parquet":
        return False
    with _open(path) as stream:
        return stream.read(3) == codecs.BOM_UTF8


def bad_bytes(source: Source) -> Iterator[BadByte]:
    """Find the bytes that the declared encoding does not allow; Parquet has none.

    In encodings other than UTF-8 only the first is found, since what follows it has no certain
    meaning.
    """
    if file_format(source.path) == "parquet":
        return
    codec, _ = _codec(source)
    with _open(source.path) as stream:
        yield from _undecodable(stream, codec)


def repairs_encoding(dataset: Dataset) -> bool:
    """Whether bytes that are not UTF-8 are to be replaced instead of being an error."""
    return dataset.encoding.lower() == _REPLACE


def line_numbers(source: Source, rows: Sequence[int]) -> list[int]:
    """The lines (from 1) on which the given ascending rows begin; for Parquet the rows from 1."""
    form = file_format(source.path)
    if form == "parquet":
        return [row + 1 for row in rows]
    lines = (number for number, _ in _json_lines(source)) if form == "jsonl" else _lines(source)
    wanted = set(rows)
    return [line for row, line in zip(range(max(rows) + 1), lines, strict=False) if row in wanted]


def _lines(source: Source) -> Iterator[int]:
    lines = (line for line, _ in _records(source))
    next(lines, None)  # the header
    return lines


def _label_codes(dataset: Dataset) -> dict[str, int]:
    meaning = {"negative": NEGATIVE, "positive": POSITIVE}
    return {
        canonical_label(value): meaning[name]
        for name, values in dataset.labels.items()
        for value in values
    }


def _scan(source: Source, path: Path) -> pl.LazyFrame:
    """All columns of the UTF-8 (or Parquet) file `path`, lazily; those of text files as String."""
    import polars as pl

    form = file_format(source.path)
    if form == "parquet":
        return pl.scan_parquet(path, glob=False, row_index_name=_ROW)
    if form == "csv":
        return pl.scan_csv(
            path,
            glob=False,
            infer_schema=False,
            separator=_separator(source),
            row_index_name=_ROW,
        )
    wanted = dict.fromkeys((source.declaration.text, source.declaration.label), pl.String)
    return pl.scan_ndjson(path, schema=wanted, row_index_name=_ROW)


def _select(frame: pl.LazyFrame, source: Source, path: Path) -> pl.LazyFrame:
    """Check the two declared columns and give them our names."""
    import polars as pl

    declaration = source.declaration
    names = _columns(source, path)
    for column in (declaration.text, declaration.label):
        if column not in names:
            raise _missing_column(source, column, names)
    schema = frame.collect_schema()
    _check_types(source, schema)
    label = pl.col(declaration.label)
    if schema[declaration.label].is_float():
        label = label.fill_nan(None)
    value = (
        label.cast(pl.String)
        .str.strip_chars()
        .str.to_lowercase()
        .str.replace(_WHOLE_NUMBER, "${1}")
    )
    return frame.select(
        pl.col(_ROW).cast(pl.UInt32).alias("row"),
        pl.col(declaration.text).cast(pl.String).alias("text"),
        pl.when(value != "").then(value).alias("value"),
    )


def _check_types(source: Source, schema: pl.Schema) -> None:
    import polars as pl

    text, label = schema[source.declaration.text], schema[source.declaration.label]
    if text not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise DataError(
            f"{source.path}: column {source.declaration.text!r} holds {text}, not text. "
            f"{source.correction}"
        )
    if label.is_nested() or label == pl.Binary:
        raise DataError(
            f"{source.path}: column {source.declaration.label!r} holds {label}, not labels. "
            f"{source.correction}"
        )


def _columns(source: Source, path: Path) -> list[str]:
    import polars as pl

    if file_format(source.path) != "jsonl":
        return [name for name in _scan(source, path).collect_schema().names() if name != _ROW]
    wanted = {source.declaration.text, source.declaration.label}
    names: list[str] = []
    for length in (1_000, None):  # A key may be missing from the first lines; then look at all.
        names = pl.scan_ndjson(path, infer_schema_length=length).collect_schema().names()
        if wanted <= set(names):
            break
    return names


def _missing_column(source: Source, column: str, names: Sequence[str]) -> DataError:
    message = (
        f"{source.path} has no column {column!r}{_suggestion(column, names)} "
        f"It has: {', '.join(names) or 'none'}. {source.correction}"
    )
    separators = {";": "';'", "\t": r"'\t'", "|": "'|'"}
    if len(names) == 1 and (hint := [s for c, s in separators.items() if c in names[0]]):
        message += f" If columns are separated by {hint[0]}, add separator: {hint[0]} there."
    return DataError(message)


def _suggestion(word: str, known: Sequence[str]) -> str:
    """`.` or a question, to end a sentence about an unknown word."""
    folded = {name.strip().lower(): name for name in known}
    close = difflib.get_close_matches(word.strip().lower(), folded, n=1)
    return f". Did you mean {folded[close[0]]!r}?" if close else "."


def _how_to_get(source: Source) -> str:
    if not source.name:
        return "Check the path."
    if source.declaration.kaggle:
        return f"Run: olens data download {source.name} (or put the file there yourself)."
    return f"Put the file there, or correct the path of {source.where}."


def _separator(source: Source) -> str:
    separator = source.declaration.separator
    if separator == "," and ".tsv" in source.path.suffixes:
        return "\t"
    if len(separator.encode()) != 1:
        raise DataError(f"separator = {separator!r} in {source.where}: must be one ASCII character")
    return separator


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if _is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def _codec(source: Source) -> tuple[str, str]:
    """The Python codec that reads the declared encoding, and what it does with errors."""
    encoding = source.declaration.encoding
    if repairs_encoding(source.declaration):
        return _UTF8, "replace"
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except LookupError:
        raise DataError(
            f"encoding = {encoding!r} in {source.where}: there is no such encoding. Use a Python "
            f"codec name such as utf-8, latin-1, cp1252 or utf-16, or {_REPLACE}."
        ) from None
    return (_UTF8 if name in {"utf-8", _UTF8} else name), "strict"


@contextmanager
def _readable(source: Source) -> Iterator[Path]:
    """A file with the content of `source` that Polars can scan: UTF-8, not compressed.

    That is the file itself where possible, else a temporary copy. What Polars then says about it
    is put into our words.
    """
    import polars as pl

    try:
        with _utf8_file(source) as path:
            yield path
    except pl.exceptions.NoDataError:
        raise DataError(f"{source.path} is empty") from None
    except pl.exceptions.PolarsError as error:
        raise _malformed(source, error) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{source.path} is not a complete gzip file: {error}") from None


@contextmanager
def _utf8_file(source: Source) -> Iterator[Path]:
    if file_format(source.path) == "parquet":
        yield source.path
        return
    codec, errors = _codec(source)
    if codec == _UTF8 and not _needs_copy(source.path):
        bad = next(bad_bytes(source), None)
        if bad is None:
            yield source.path
            return
        if errors == "strict":
            raise encoding_error(source, bad)
    with tempfile.NamedTemporaryFile() as copy:
        with _open(source.path) as stream:
            _recode(stream, copy, codec, errors, source)
        yield Path(copy.name)


def _needs_copy(path: Path) -> bool:
    if _is_gzip(path):
        return True
    # In JSON, Polars knows no byte order mark; in the name of a JSON file, it takes * ? [ as a
    # pattern and cannot be told not to.
    patterned = bool(set("*?[") & set(str(path)))
    return file_format(path) == "jsonl" and (patterned or starts_with_bom(path))


def _recode(stream: IO[bytes], target: IO[bytes], codec: str, errors: str, source: Source) -> None:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    folder = Path(tempfile.gettempdir())
    final = False
    while not final:
        chunk = stream.read(_CHUNK_BYTES)
        final = not chunk
        try:
            text = decoder.decode(chunk, final)
        except UnicodeError:
            raise encoding_error(source, next(bad_bytes(source))) from None
        with explained(folder):
            target.write(text.encode("utf-8", "replace"))
    with explained(folder):
        target.flush()


def encoding_error(source: Source, bad: BadByte) -> DataError:
    """The error for the first byte that does not belong to the declared encoding."""
    encoding = source.declaration.encoding
    with _open(source.path) as stream:
        utf16 = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    likely = "utf-16" if utf16 else "latin-1"
    return DataError(
        f"{source.path}: byte 0x{bad.value:02X} at offset {bad.offset:,} (line {bad.line:,}) is "
        f"not valid {encoding}. If the file has another encoding, say so in {source.where}, for "
        f"example encoding: {likely}. To replace such bytes by U+FFFD, use encoding: {_REPLACE}."
    )


def _undecodable(stream: IO[bytes], codec: str) -> Iterator[BadByte]:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    offset, line, final = 0, 1, False
    while not final:
        chunk = stream.read(_CHUNK_BYTES)
        begin, offset, final = offset, offset + len(chunk), not chunk
        rest: bytes | None = chunk
        while rest is not None:
            try:
                decoder.decode(rest, final)
                rest = None
            except UnicodeDecodeError as error:
                # The decoder may have put bytes of earlier chunks in front, never any behind.
                at = offset - len(error.object) + error.start
                before = chunk.count(b"\n", 0, max(0, at - begin))
                yield BadByte(error.object[error.start], at, line + before)
                if codec != _UTF8:
                    return
                rest = error.object[error.end :]
                decoder = codecs.getincrementaldecoder("utf-8")("strict")
            except UnicodeError:  # UTF-16 and UTF-32 without their mark
                yield BadByte(chunk[0], 0, 1)
                return
        line += chunk.count(b"\n")


def _records(source: Source, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The header and the records of a CSV file, each with the line on which it begins."""
    codec, errors = _codec(source)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with (
            _open(source.path) as stream,
            io.TextIOWrapper(stream, codec, errors, newline="") as text,
        ):
            line = 1
            reader = csv.reader(text, delimiter=_separator(source), strict=strict)
            for record in reader:
                yield line, record
                line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _json_lines(source: Source) -> Iterator[tuple[int, str]]:
    """The lines of a JSONL file that are not blank, with their numbers."""
    codec, errors = _codec(source)
    with _open(source.path) as stream, io.TextIOWrapper(stream, codec, errors) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield number, line


def _malformed(source: Source, error: Exception) -> DataError:
    """Find the line that Polars could not read, which its own message does not tell."""
    form = file_format(source.path)
    reason = str(error).partition("\n")[0]
    if form == "parquet":
        return DataError(f"{source.path} is not a Parquet file that can be read: {reason}")
    if form == "jsonl":
        place = _bad_json_line(source) or reason
        return DataError(f"{source.path} is not JSONL, one JSON object a line: {place}")
    return DataError(f"{source.path} is not valid CSV: {_bad_csv_line(source) or reason}")


def _bad_csv_line(source: Source) -> str | None:
    line, width = 1, 0
    try:
        for line, record in _records(source, strict=True):
            width = width or len(record)
            if len(record) > width:
                return f"line {line:,} has {len(record)} fields, but there are {width} columns"
    except csv.Error as error:
        return f"the quoting is broken in the record after line {line:,} ({error})"
    return None


def _bad_json_line(source: Source) -> str | None:
    for number, line in _json_lines(source):
        try:
            msgspec.json.decode(line, type=dict[str, object])
        except msgspec.DecodeError as error:
            return f"line {number:,}: {error}"
    return None

"""Raw files of every format and with every fault."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.datasets.labels import UnknownLabels, undeclared
from pipelines.datasets.reading import open_source, read_batches
from pipelines.errors import DataError
from tests.unit.datasets.project import fault, read, source_of, write_as

TEXTS = ['plain "quoted", comma', "two\nlines", "naïve café 😀", "tab\there"]
LABELS = ["neg", " POS ", "Neg", "pos"]
CODES = [0, 1, 0, 1]


@pytest.mark.parametrize(
    "ending",
    [".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".CSV"],
)
def test_every_format_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"other": [1, 2, 3, 4], "text": TEXTS, "label": LABELS})

    found = read(write_as(ending, frame, tmp_path))

    assert found["text"].to_list() == TEXTS
    assert found["label"].to_list() == CODES
    assert found.schema == {"text": pl.String, "label": pl.Int8}


@pytest.mark.parametrize(
    "labels",
    [
        pl.Series([5, 1, None]),
        pl.Series([5.0, 1.0, float("nan")]),
        pl.Series(["5", "1.0", ""]),
        pl.Series([" 5.00 ", "1", "  "]),
        pl.Series(["5", "1", None], dtype=pl.Categorical),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_numbers_are_labels_however_they_are_written(
    labels: pl.Series, ending: str, tmp_path: Path
) -> None:
    if ending != ".parquet" and labels.dtype == pl.Float64:
        labels = labels.fill_nan(None)
    frame = pl.DataFrame({"text": ["good", "bad", "unknown"], "label": labels})
    path = write_as(ending, frame, tmp_path)

    found = read(path, labels={"negative": ["1"], "positive": ["5.0"]})

    assert found.rows() == [("good", 1), ("bad", 0)]


def test_booleans_are_labels(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["good", "bad"], "label": [True, False]})
    for ending in (".parquet", ".jsonl", ".csv"):
        path = write_as(ending, frame, tmp_path)
        found = read(path, labels={"negative": ["False"], "positive": ["True"]})
        assert found["label"].to_list() == [1, 0]


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"

    assert "olens data download reviews" in fault(path, kaggle="owner/name")
    assert f"{path}: there is no such file. Put the file there" in fault(path)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "file.csv").mkdir()

    assert "is a folder" in fault(tmp_path / "file.csv")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_an_empty_file_is_an_error(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{ending}"
    path.write_bytes(b"")

    assert fault(path) == f"{path} is empty"


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".csv.gz"])
def test_a_missing_column_is_named_with_those_that_are_there(ending: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"Text ": ["a"], "stars": [1], "label": ["pos"]})
    path = write_as(ending, frame, tmp_path)

    message = fault(path)

    assert "has no column 'text'. Did you mean 'Text '?" in message
    assert "It has: Text , stars, label." in message
    assert "Correct datasets.reviews in conf/params.yaml" in message


def test_columns_have_numbers_where_there_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("pos;a good one\nneg;a bad one\n")

    assert read(path, text="2", label="1", header=False).rows() == [
        ("a good one", 1),
        ("a bad one", 0),
    ]


def test_declared_encoding_and_separator_are_used(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("text,label\ncafé,pos\n".encode("cp1252"))

    assert read(path).rows() == [("café", 1)]
    assert read(path, encoding="utf-8-replace").rows() == [("caf\ufffd", 1)]
    message = fault(path, encoding="utf-8")
    assert "byte 0xE9 in line 2 is not valid utf-8" in message
    assert "encoding: windows-1252 in datasets.reviews in conf/params.yaml" in message
    assert "has no column 'text'" in fault(path, separator=";")
    assert "must be one ASCII character" in fault(path, separator=";;")


def test_rows_that_cannot_be_read_are_left_out_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text('text,label\na,pos\n"b,neg\nc,neg\n')
    source = source_of(path)
    table = open_source(source)

    batches = list(read_batches(source, table))

    assert pl.concat(batches)["line"].to_list() == [2, 4]
    assert table.findings.lost == 1
    assert table.messages() == ["1 row left out: a quote is never closed (line 3)"]


def test_unknown_labels_are_listed_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text('text,label\n"two\nlines",Mixed\na,pos\nb,mixed\nc,odd\nd,skip\n')
    source = source_of(path, drop=["Skip"])
    unknown = UnknownLabels()
    for batch in read_batches(source):
        unknown.add(undeclared(batch, source.declaration))

    with pytest.raises(DataError) as error:
        unknown.check(source)

    message = str(error.value)
    assert "'mixed' (2 rows, lines 2, 5); 'odd' (1 row, line 6)" in message
    assert "drop: [Skip, mixed, odd]" in message


def test_many_unknown_labels_are_cut_short(tmp_path: Path) -> None:
    unknown = UnknownLabels()
    values = [f"value {i}" for i in range(9)] * 4
    unknown.add(pl.DataFrame({"value": values, "line": range(36)}))

    with pytest.raises(
        DataError, match=r"'value 0' \(4 rows, rows 0, 9, 18, \.\.\.\);.*and 4 more"
    ):
        unknown.check(source_of(tmp_path / "file.parquet"), "row")


def test_columns_of_the_wrong_type_are_errors(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": [1, 2], "label": ["pos", "neg"], "list": [["a"], ["b"]]})
    path = write_as(".parquet", frame, tmp_path)

    assert "column 'text' holds Int64, not text" in fault(path)
    assert "column 'list' holds List(String)" in fault(path, text="label", label="list")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_names_with_glob_characters_are_names(ending: str, tmp_path: Path) -> None:
    plain = write_as(ending, pl.DataFrame({"text": ["a"], "label": ["pos"]}), tmp_path)
    path = plain.rename(tmp_path / f"what [1]*{ending}")

    assert read(path).rows() == [("a", 1)]


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    path = write_as(".csv", pl.DataFrame({"line": ["a"], "value": ["pos"]}), tmp_path)

    assert read(path, text="line", label="value", header=True).rows() == [("a", 1)]

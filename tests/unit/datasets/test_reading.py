"""Raw files of every format and with every fault."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from pipelines.datasets import reading
from pipelines.datasets.lines import line_numbers
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


def test_an_unknown_ending_is_an_error(tmp_path: Path) -> None:
    for name in ("file.xlsx", "file", "file.parquet.gz"):
        (tmp_path / name).write_text("x")
        assert "cannot tell what kind of file" in fault(tmp_path / name)


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


def test_a_file_without_declaration_gets_no_advice_about_one(tmp_path: Path) -> None:
    path = write_as(".csv", pl.DataFrame({"review": ["a"], "label": ["pos"]}), tmp_path)

    with pytest.raises(DataError, match=r"It has: review, label\. Name another column\."):
        read(path)


def test_a_wrong_separator_is_suspected(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("text;label\na;pos\n")

    assert "add separator: ';' there" in fault(path)
    assert read(path, separator=";").rows() == [("a", 1)]
    assert "must be one ASCII character" in fault(path, separator=";;")


def test_unknown_labels_are_listed_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text('text,label\n"two\nlines",Mixed\na,pos\nb,mixed\nc,odd\nd,skip\n')

    with pytest.raises(DataError) as error:
        read(path, drop=["Skip"])

    message = str(error.value)
    assert "'mixed' (2 rows, lines 2, 5); 'odd' (1 row, line 6)" in message
    assert "drop: [Skip, mixed, odd]" in message


def test_unknown_labels_of_later_batches_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BATCH_ROWS", 2)
    path = tmp_path / "file.jsonl"
    line = '{"text": "a", "label": "%s"}\n'
    path.write_text("\n".join(line % label for label in ["pos", "neg", "x", "pos", "x", "x", "x"]))

    with pytest.raises(DataError, match=r"'x' \(4 rows, lines 5, 9, 11, \.\.\.\)"):
        read(path)


def test_many_unknown_labels_are_cut_short(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a"] * 9, "label": [f"value {i}" for i in range(9)]})
    path = write_as(".parquet", frame, tmp_path)

    with pytest.raises(DataError, match=r"'value 0' \(1 row, row 1\);.*and 4 more values"):
        read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text,label\na,pos\nb,neg,extra\n", "line 3 has 3 fields, but there are 2 columns"),
        ('text,label\na,pos\n"b,neg\nc,pos\n', "quoting is broken in the record after line 2"),
        ('text,label\na,pos\n"b"x,neg\n', "quoting is broken in the record after line 2"),
    ],
)
def test_malformed_csv_names_the_line(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text(content)

    assert reason in fault(path)


@pytest.mark.parametrize("bad", ["{", "hello", '["a", "pos"]', "7"])
def test_malformed_jsonl_names_the_line(bad: str, tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('{"text": "a", "label": "pos"}\n\n' + bad + "\n")

    message = fault(path)

    assert "is not JSONL, one JSON object a line: line 3" in message


def test_jsonl_keys_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('{"text": "a"}\n' * 1_500 + '{"label": "pos"}\n{"text": "b", "label": "neg"}\n')

    assert read(path).rows() == [("b", 0)]


def test_damaged_parquet_and_gzip_are_errors(tmp_path: Path) -> None:
    parquet, archive = tmp_path / "file.parquet", tmp_path / "file.csv.gz"
    parquet.write_bytes(b"PAR1 and nothing else")
    archive.write_bytes(gzip.compress(b"text,label\n" + b"abc,pos\n" * 9_999)[:-50])

    assert "is not a Parquet file" in fault(parquet)
    assert "is not a complete gzip file" in fault(archive)
    archive.write_bytes(b"text,label\n")
    assert "is not a complete gzip file" in fault(archive)


def test_columns_of_the_wrong_type_are_errors(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": [1, 2], "label": ["pos", "neg"], "list": [["a"], ["b"]]})
    path = write_as(".parquet", frame, tmp_path)

    assert "column 'text' holds Int64, not text" in fault(path)
    assert "column 'list' holds List(String), not labels" in fault(path, text="label", label="list")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_names_with_glob_characters_are_names(ending: str, tmp_path: Path) -> None:
    plain = write_as(ending, pl.DataFrame({"text": ["a"], "label": ["pos"]}), tmp_path)
    path = plain.rename(tmp_path / f"what [1]*{ending}")

    assert read(path).rows() == [("a", 1)]


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    path = write_as(".csv", pl.DataFrame({"row": ["a"], "value": ["pos"]}), tmp_path)

    assert read(path, text="row", label="value").rows() == [("a", 1)]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    for content in ("text,label\n", "text,label\n,pos\na,\n"):
        path.write_text(content)
        with pytest.raises(DataError, match="no row with a text and a label"):
            read(path)


def test_line_numbers_count_header_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text('text,label\n"a\n\nb",pos\nc,pos\nd,pos\n')

    assert line_numbers(source_of(path), [0, 2]) == [2, 6]

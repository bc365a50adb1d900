"""Rows come back as they came, with the columns that were added."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables.reading import open_table
from pipelines.tables.results import ResultWriter, harmless
from tests.unit.tables.archives import workbook


def written(name: str, content: bytes, *, safe: bool = True) -> bytes:
    """The file with a column that says how long each first field is; null for a blank one."""
    table = open_table(content, name)
    batches = list(table.batches(typed=True))
    writer = ResultWriter(table, ["prediction", "probability"], harmless=safe)
    parts = [writer.head()]
    for batch in batches:
        first = batch.frame.to_series()
        lengths = first.str.len_chars()
        added = pl.DataFrame({"prediction": lengths, "probability": lengths / 7})
        parts.append(writer.write(batch, added))
    return b"".join([*parts, writer.tail()])


def test_separator_line_ends_and_mark_stay() -> None:
    content = b'\xef\xbb\xbftext;n\r\nsie sagt;1\r\n"a;b";2\r\n'

    assert written("a.csv", content) == (
        b"\xef\xbb\xbftext;n;prediction;probability;row\r\n"
        b"sie sagt;1;8;1.142857;1\r\n"
        b'"a;b";2;3;0.428571;2\r\n'
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-32"])
def test_the_encoding_stays(encoding: str) -> None:
    content = "text,n\ncafé für 5 €,1\nschön,2\n".encode(encoding)

    text = written("a.csv", content).decode(encoding)

    assert text.startswith("text,n,prediction,probability,row\ncafé für 5 €,1,12,1.714286,1\n")


def test_bytes_that_windows_does_not_use_come_back() -> None:
    assert b"\x81caf\xe9," in written("a.csv", b"text,n\n\x81caf\xe9,1\n")


def test_excel_keeps_its_hint() -> None:
    assert written("a.csv", b"sep=;\ntext;n\nso good;1\n").startswith(b"sep=;\ntext;n;prediction;")


def test_blank_and_missing_rows_keep_their_numbers() -> None:
    content = b'text,n\na b,1\n\n"c "d,2\ne f,3\n'

    rows = list(csv.DictReader(io.StringIO(written("a.csv", content).decode())))

    assert [(row["text"], row["row"], row["prediction"]) for row in rows] == [
        ("a b", "1", "3"), ("", "2", ""), ("e f", "4", "3"),
    ]  # fmt: skip


def test_renamed_columns_are_reported() -> None:
    content = b"text,prediction,prediction_2,row\na b,1,2,3\n"
    writer = ResultWriter(open_table(content, "a.csv"), ["prediction"])

    assert writer.names == {"prediction": "prediction_3", "row": "row_2"}
    assert "'prediction' already; ours is called 'prediction_3'" in writer.messages[0]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1", "＝1"]
)
def test_formulas_are_made_harmless(cell: str) -> None:
    content = f'text,n\n"{cell}",1\n'.encode()

    (row,) = csv.DictReader(io.StringIO(written("a.csv", content).decode()))
    assert row["text"] == "'" + cell
    (row,) = csv.DictReader(io.StringIO(written("a.csv", content, safe=False).decode()))
    assert row["text"] == cell


def test_formulas_in_names_are_made_harmless() -> None:
    assert written("a.csv", b"text,=1+1\na b,1\n").startswith(b"text,'=1+1,")


@pytest.mark.parametrize("cell", ["-5", "+3.2", "-1e9", "-3 %", "1=1", "a - b", ""])
def test_numbers_and_texts_stay(cell: str) -> None:
    assert harmless(pl.DataFrame({"a": [cell]})).item() == cell


def test_jsonl_keeps_what_it_does_not_know() -> None:
    content = b'{"text": "a b", "big": 12345678901234567890, "in": {"x": [1.0]}}\n{}\n'

    first, second = written("a.jsonl", content).splitlines()

    assert first.startswith(b'{"text": "a b", "big": 12345678901234567890, "in": {"x": [1.0]},')
    assert json.loads(first)["probability"] == 0.428571
    assert json.loads(second) == {"row": 2, "prediction": None, "probability": None}


def test_other_kinds_of_json() -> None:
    array = json.loads(written("a.json", b'[{"text": "a b"},\n {"text": "c"}]'))
    assert [row["prediction"] for row in array] == [3, 1]
    assert json.loads(written("a.jsonl", b'"a b"\n'))["text"] == "a b"
    assert json.loads(written("a.jsonl", b'["a b", 1]\n["c", 2]').splitlines()[0])["values"] == [
        "a b",
        1,
    ]
    assert json.loads(written("a.json", b"[]")) == []


def test_parquet_keeps_its_types() -> None:
    frame = pl.DataFrame({"text": ["a b", None], "list": [[1], [2]], "n": [1, 2]})
    target = io.BytesIO()
    frame.write_parquet(target)

    found = pl.read_parquet(written("a.parquet", target.getvalue()))

    assert found.drop("row", "prediction", "probability").equals(frame)
    assert found["prediction"].to_list() == [3, None]


def test_excel_and_lines_become_csv() -> None:
    book = written("a.xlsx", workbook(("text", "n"), ("a b", 1)))
    assert book == b"\xef\xbb\xbftext,n,prediction,probability,row\r\na b,1,3,0.428571,1\r\n"
    assert written("a.txt", b"a b\nc, d\n") == (
        b'text,prediction,probability,row\na b,3,0.428571,1\n"c, d",4,0.571429,2\n'
    )


_FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)


@given(st.lists(st.tuples(_FIELD, _FIELD), min_size=1, max_size=5))
def test_results_can_be_read_again(rows: list[tuple[str, str]]) -> None:
    source = io.StringIO(newline="")
    csv.writer(source, quoting=csv.QUOTE_ALL).writerows([("text", "other"), *rows])

    again = open_table(written("a.csv", source.getvalue().encode(), safe=False), "a.csv")

    found = pl.concat(batch.frame for batch in again.batches())
    # The scanner has no difference between nothing and an empty field.
    assert [(a or "", b or "") for a, b, *_ in found.iter_rows()] == rows

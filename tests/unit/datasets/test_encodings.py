"""Files in every encoding, and with bytes that do not belong to it."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets import encodings
from pipelines.datasets.encodings import bad_bytes
from pipelines.datasets.reading import check_columns, read_batches
from tests.unit.datasets.project import fault, read, source_of, write_as


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_byte_order_mark_is_skipped(ending: str, tmp_path: Path) -> None:
    path = write_as(ending, pl.DataFrame({"text": ["a"], "label": ["pos"]}), tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert read(path).rows() == [("a", 1)]
    assert check_columns(source_of(path)) == ["text", "label"]


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-be", "UTF-8", "utf_8_sig"]
)
def test_other_encodings_are_read_when_declared(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("text,label\ncafé,pos\n".encode(encoding))

    assert read(path, encoding=encoding).rows() == [("café", 1)]


def test_broken_utf8_can_be_repaired(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"text,label\ncaf\xe9,pos\n")

    assert read(path, encoding="utf-8-replace").rows() == [("caf\ufffd", 1)]


def test_broken_utf8_is_an_error_that_says_where_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"text,label\ngood,pos\ncaf\xe9,pos\n")

    message = fault(path)

    assert "byte 0xE9 at offset 23 (line 3) is not valid utf-8" in message
    assert "encoding: latin-1" in message
    assert "encoding: utf-8-replace" in message
    assert "datasets.reviews in conf/params.yaml" in message


def test_utf16_that_is_declared_as_utf8_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("text,label\na,pos\n".encode("utf-16"))

    assert "encoding: utf-16" in fault(path)


def test_utf16_without_its_mark_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"text,label\na,pos\n")

    assert "not valid utf-16" in fault(path, encoding="utf-16")


@given(st.lists(st.one_of(st.binary(max_size=4), st.text(max_size=3).map(str.encode))))
def test_bad_bytes_are_those_that_python_finds(parts: list[bytes]) -> None:
    content = b"x" + b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "_CHUNK_BYTES", 3)
        patch.setattr(encodings, "open_bytes", lambda path: io.BytesIO(content))
        found = list(bad_bytes(source_of(Path("file.csv"))))

    repaired = content.decode("utf-8", "replace").count("\ufffd")
    assert len(found) == repaired - content.count("\ufffd".encode())
    if found:
        with pytest.raises(UnicodeDecodeError) as error:
            content.decode()
        assert found[0].offset == error.value.start
        assert found[0].value == content[error.value.start]
        assert found[0].line == 1 + content[: error.value.start].count(b"\n")
    assert [bad.offset for bad in found] == sorted({bad.offset for bad in found})


def test_an_unknown_encoding_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("text,label\na,pos\n")

    assert "there is no such encoding" in fault(path, encoding="klingon")
    assert "there is no such encoding" in fault(path, encoding="base64")


def test_temporary_copies_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    path = tmp_path / "file.csv"
    path.write_bytes("text,label\ncafé,pos\n".encode("latin-1"))

    batches = read_batches(source_of(path, encoding="latin-1"))
    next(batches)
    assert list(folder.iterdir())
    del batches

    assert not list(folder.iterdir())

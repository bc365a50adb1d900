"""Archives that would unpack to far more than their size are refused before they are unpacked."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import CorruptModelError
from pipelines.training.archive import check_archive
from pipelines.training.persistence import load_pipeline

MEGABYTE = bytes(1_000_000)


def write(path: Path, files: dict[str, bytes], schema: object, compressed: bool = True) -> Path:
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("schema.json", schema if isinstance(schema, bytes) else json.dumps(schema))
    return path


def reads(*names: str) -> dict[str, object]:
    return {"content": [{"__loader__": "NdArrayNode", "file": name} for name in names]}


def inner(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"{number}.npy", MEGABYTE)
    return buffer.getvalue()


def test_an_archive_that_is_not_compressed_may_be_large(tmp_path: Path) -> None:
    files = {f"{number}.npy": MEGABYTE for number in range(30)}
    check_archive(write(tmp_path / "model.skops", files, reads(*files), compressed=False))


def array(kind: str, count: int) -> bytes:
    """The beginning of an array of `count` elements, which are not there."""
    buffer = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def shared(depth: int, times: int) -> dict[str, object]:
    """A list of a list of a list, each of which stands `times` times in the one around it."""
    node: dict[str, object] = {"__id__": 1, "content": []}
    for number in range(2, depth):
        again = [{"__id__": number - 1}] * (times - 1)
        node = {"__id__": number, "content": [*again, node]}
    return node


def test_parts_may_be_shared(tmp_path: Path) -> None:
    check_archive(write(tmp_path / "model.skops", {}, shared(15, 2)))


def test_a_small_one_may_be_compressed(tmp_path: Path) -> None:
    check_archive(write(tmp_path / "model.skops", {"a.npy": MEGABYTE}, reads("a.npy", "a.npy")))


@pytest.mark.parametrize(
    ("files", "schema"),
    [
        ({f"{number}.npy": MEGABYTE for number in range(30)}, {}),
        ({"a.npy": MEGABYTE}, reads(*["a.npy"] * 1_000)),
        ({"a.npz": inner(50)}, reads("a.npz")),
        ({"a.npy": inner(50)}, reads("a.npy")),
        ({"a.npy": array("|S0", 10**9)}, reads("a.npy")),
        ({"a.npy": array("<f8", 10**9)}, reads("a.npy")),
        ({}, shared(40, 4)),
        ({}, shared(20, 2)),
        ({}, {"__id__": 1, "content": [{"__id__": 2, "content": [{"__id__": 1}]}]}),
        ({}, {"__id__": [1]}),
        ({}, b" " * 31_000_000),
        ({}, b"[" + b"[]," * 1_500_000 + b"0]"),
        ({}, b"[" * 100_000),
        ({}, b"not JSON"),
    ],
    ids=[
        "zeros",
        "read again and again",
        "in an archive",
        "in an archive of another name",
        "empty texts",
        "numbers that are not there",
        "shared",
        "shared half a million times",
        "in itself",
        "an odd ID",
        "spaces",
        "lists",
        "depth",
        "text",
    ],
)
def test_bombs_are_refused(tmp_path: Path, files: dict[str, bytes], schema: object) -> None:
    path = write(tmp_path / "model.skops", files, schema)
    with pytest.raises((ValueError, RecursionError)):
        check_archive(path)
    with pytest.raises(CorruptModelError, match=r"model\.skops cannot be read"):
        load_pipeline(tmp_path)


def test_an_archive_without_a_schema_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(CorruptModelError):
        load_pipeline(tmp_path)

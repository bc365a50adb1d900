"""The manifest: exactly the files that were listed, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipelines.errors import CorruptModelError
from pipelines.registry.manifest import MANIFEST, verify_manifest, write_manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"a")
    (folder / "sub" / "b.bin").write_bytes(bytes(1000))
    (folder / "empty").touch()
    return folder


def test_lists_every_file_with_size_and_digest(model: Path) -> None:
    write_manifest(model)
    files = verify_manifest(model).files
    assert {name: entry.size for name, entry in files.items()} == {
        "a.txt": 1,
        "empty": 0,
        "sub/b.bin": 1000,
    }
    assert files["a.txt"].sha256 == hashlib.sha256(b"a").hexdigest()


def test_answers_its_own_digest(model: Path) -> None:
    digest = write_manifest(model)
    assert digest == hashlib.sha256((model / MANIFEST).read_bytes()).hexdigest()
    verify_manifest(model, digest)
    with pytest.raises(CorruptModelError, match="not the one that was registered"):
        verify_manifest(model, "0" * 64)


def test_writing_again_changes_nothing(model: Path) -> None:
    assert write_manifest(model) == write_manifest(model)


def test_a_missing_file(model: Path) -> None:
    write_manifest(model)
    (model / "a.txt").unlink()
    with pytest.raises(CorruptModelError, match=r"the file a\.txt is missing"):
        verify_manifest(model)


@pytest.mark.parametrize("content", [b"b", b"", b"aa"])
def test_a_changed_file(model: Path, content: bytes) -> None:
    write_manifest(model)
    (model / "a.txt").write_bytes(content)
    with pytest.raises(CorruptModelError, match=r"the file a\.txt differs from its SHA-256"):
        verify_manifest(model)


def test_an_added_file(model: Path) -> None:
    write_manifest(model)
    (model / "sub" / "c").touch()
    with pytest.raises(CorruptModelError, match="unexpected file sub/c"):
        verify_manifest(model)


def test_a_link_in_place_of_a_file(model: Path, tmp_path: Path) -> None:
    write_manifest(model)
    (tmp_path / "outside").write_bytes(b"a")
    (model / "a.txt").unlink()
    (model / "a.txt").symlink_to(tmp_path / "outside")
    with pytest.raises(CorruptModelError, match="is a link"):
        verify_manifest(model)


def test_a_file_outside_of_the_folder_cannot_be_listed(model: Path, tmp_path: Path) -> None:
    write_manifest(model)
    (tmp_path / "outside").write_bytes(b"a")
    manifest = (model / MANIFEST).read_text()
    (model / MANIFEST).write_text(manifest.replace("a.txt", "../outside"))
    with pytest.raises(CorruptModelError, match=r"\.\./outside is missing"):
        verify_manifest(model)


def test_no_manifest(model: Path) -> None:
    with pytest.raises(CorruptModelError, match="was not logged by OpinionLens"):
        verify_manifest(model)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"files": 3}', b"\xff", b'{"files": {"a": {}}}']
)
def test_a_damaged_manifest(model: Path, content: bytes) -> None:
    (model / MANIFEST).write_bytes(content)
    with pytest.raises(CorruptModelError, match="is damaged"):
        verify_manifest(model)

"""Folders are replaced whole or not at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pipelines.datasets.preparing import preprocess
from pipelines.datasets.writing import replaced_folder
from pipelines.errors import StorageError
from tests.support import require
from tests.unit.datasets.project import Project, csv_of, rows_of


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    for name in ("first", "second"):
        with replaced_folder(target) as folder:
            (folder / name).write_text(name)

    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_folder_is_there(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "target"
    with replaced_folder(target) as folder:
        (folder / "file").write_text("old")

    def fail() -> None:
        with replaced_folder(target) as folder:
            (folder / "file").write_text("new")
            raise error

    with pytest.raises(error):
        fail()

    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_run_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".target-abcd1234", ".target-abcd5678", "x"))
    for folder in (old, young, other):
        folder.mkdir()
    os.utime(old, (0, 0))

    with replaced_folder(tmp_path / "target"):
        pass

    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with (
        pytest.raises(StorageError, match="cannot be written"),
        replaced_folder(tmp_path / "file" / "target"),
    ):
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True
    )
    require(mounted.returncode == 0, "a small tmpfs cannot be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_everything_as_it_was(
    small_disk: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.prepared = small_disk
    monkeypatch.setenv("OLENS_PATHS__PREPARED", str(small_disk))
    project.write(csv_of(rows_of(100)))
    preprocess(project.settings, project.params, ["reviews"])
    before = project.snapshot()
    project.write(csv_of([(os.urandom(300).hex(), label) for _, label in rows_of(1_000)]))

    with pytest.raises(StorageError, match="the disk is full"):
        preprocess(project.settings, project.params)

    assert project.snapshot() == before
    assert pl.read_parquet(small_disk / "reviews" / "train.parquet").height > 0


def test_a_full_temporary_folder_is_an_error(
    small_disk: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    project.declare(reviews={"encoding": "latin-1"})
    project.write(csv_of([("x" * 3_000, label) for _, label in rows_of(100)]))

    with pytest.raises(StorageError, match="the disk is full"):
        preprocess(project.settings, project.params)

    assert not project.snapshot()
    assert not list(small_disk.iterdir())

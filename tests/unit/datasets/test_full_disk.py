"""A full disk leaves prepared data as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pipelines.datasets.preparing import preprocess
from pipelines.errors import StorageError
from tests import disks
from tests.unit.datasets.project import Project, csv_of, rows_of


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disks.small_disk(tmp_path / "small", "128k") as folder:
        yield folder


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

"""Prepared texts as training gets them, and how it learns that they are out of date."""

from __future__ import annotations

import msgspec
import polars as pl
import pytest

from pipelines.config.params import Split
from pipelines.datasets.loading import (
    load_report,
    load_slices,
    load_split,
    stale,
)
from pipelines.datasets.preparing import preprocess
from pipelines.datasets.splitting import SplitName
from pipelines.errors import DataError
from tests.unit.datasets.project import Project, csv_of, rows_of


@pytest.fixture
def prepared(project: Project) -> Project:
    project.declare(one={"path": "one.csv"}, two={"path": "two.csv"})
    project.write(csv_of(rows_of(200, prefix="one")), "one.csv")
    project.write(csv_of(rows_of(300, prefix="two")), "two.csv")
    preprocess(project.settings, project.params)
    return project


def test_data_sets_are_loaded_one_below_the_other(prepared: Project) -> None:
    both = load_split(prepared.settings, prepared.params, "train")
    two = load_split(prepared.settings, prepared.params, "train", ["two"])

    assert both.columns == ["text", "label", "dataset"]
    assert both["dataset"].unique(maintain_order=True).to_list() == ["one", "two"]
    assert both.filter(dataset="two").equals(two)
    assert two["text"].str.starts_with("two").all()


def test_unprepared_data_name_the_command_to_run(project: Project) -> None:
    with pytest.raises(DataError, match="Run: olens preprocess reviews"):
        load_split(project.settings, project.params, "test")
    with pytest.raises(DataError, match="Run: olens preprocess reviews"):
        load_report(project.settings, "reviews")
    with pytest.raises(DataError, match="Run: olens preprocess"):
        load_slices(project.settings, project.params)
    with pytest.raises(DataError, match="No data set 'other' is declared"):
        load_split(project.settings, project.params, "test", ["other"])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_a_class_is_an_error(split: SplitName, project: Project) -> None:
    project.write(csv_of([("a", "pos"), ("b", "neg")]))
    preprocess(project.settings, project.params)
    empty = pl.read_parquet(project.prepared / "reviews" / f"{split}.parquet").clear()
    empty.write_parquet(project.prepared / "reviews" / f"{split}.parquet")

    with pytest.raises(DataError, match=f"The {split} split of reviews has no negative texts"):
        load_split(project.settings, project.params, split)


def test_a_damaged_file_is_an_error(prepared: Project) -> None:
    (prepared.prepared / "one" / "test.parquet").write_bytes(b"PAR1")

    with pytest.raises(DataError, match=r"is damaged .* Run: olens preprocess one"):
        load_split(prepared.settings, prepared.params, "test")


def test_fresh_data_are_not_stale(prepared: Project) -> None:
    assert stale(prepared.settings, prepared.params) == []


def test_nothing_prepared_is_not_stale(project: Project) -> None:
    assert stale(project.settings, project.params) == []


@pytest.mark.parametrize("rows", [200, 201])
def test_a_changed_raw_file_is_noticed(rows: int, prepared: Project) -> None:
    prepared.write(csv_of(rows_of(rows, prefix="own")), "one.csv")

    (message,) = stale(prepared.settings, prepared.params)

    assert message.endswith("has changed since one was prepared. Run: olens preprocess one")


def test_a_raw_file_that_is_gone_is_passed_over(prepared: Project) -> None:
    (prepared.raw / "one.csv").unlink()

    assert stale(prepared.settings, prepared.params) == []


def test_changed_parameters_are_noticed(prepared: Project) -> None:
    params = prepared.params
    expected = [
        f"conf/params.yaml has changed since {name} was prepared. Run: olens preprocess {name}"
        for name in ("one", "two")
    ]

    assert stale(prepared.settings, msgspec.structs.replace(params, seed=1)) == expected
    shares = Split(val=0.1, test=0.2)
    assert stale(prepared.settings, msgspec.structs.replace(params, split=shares)) == expected
    prepared.declare(one={"path": "one.csv", "drop": ["x"]}, two={"path": "two.csv"})
    assert stale(prepared.settings, prepared.params) == expected[:1]


def test_real_data_beside_a_prepared_sample_are_noticed(project: Project) -> None:
    project.write(csv_of(rows_of(200)), sample=True)
    preprocess(project.settings, project.params, sample=True)
    assert stale(project.settings, project.params) == []

    project.write(csv_of(rows_of(200)))

    (message,) = stale(project.settings, project.params)
    assert "was prepared from the synthetic sample, but" in message


def test_slices_of_other_test_splits_are_noticed(prepared: Project) -> None:
    prepared.write(csv_of(rows_of(250, prefix="own")), "one.csv")
    preprocess(prepared.settings, prepared.params, ["one"])

    (message,) = stale(prepared.settings, prepared.params)

    assert message.endswith("Run: olens preprocess --slices")


def test_a_folder_without_a_report_is_noticed(prepared: Project) -> None:
    for content in (b"{}", b"\xff"):
        (prepared.prepared / "one" / "report.json").write_bytes(content)

        (message,) = stale(prepared.settings, prepared.params)

        assert "does not say what it was made from" in message

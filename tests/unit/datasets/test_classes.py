"""Data sets of several classes, and of different ones of the same classes."""

from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl
import pytest

from pipelines.datasets.listing import list_datasets
from pipelines.datasets.loading import load_slices, load_split
from pipelines.datasets.preparing import preprocess
from pipelines.datasets.verifying import verify
from pipelines.errors import DataError
from tests.unit.datasets.project import Project, csv_of

STARS = {"labels": {"negative": ["1", "2"], "neutral": ["3"], "positive": ["4", "5"]}}


def rows(labels: str, number: int, prefix: str) -> list[tuple[str, str]]:
    values = itertools.cycle(labels.split(","))
    return [(f"{prefix} text {i}", next(values)) for i in range(number)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Stars with neutral ones in the middle, and reviews without any."""
    project = Project(tmp_path)
    project.declare(stars={**STARS, "path": "stars.csv"}, reviews={})
    project.write(csv_of(rows("1,3,5,2,4", 300, "star")), "stars.csv")
    project.write(csv_of(rows("neg,pos", 200, "review")))
    return project


def test_classes_of_data_sets_together(project: Project) -> None:
    preprocess(project.settings, project.params)
    settings, params = project.settings, project.params
    together = load_split(settings, params, "train")
    found = dict(together.group_by("dataset").agg(pl.col("label").unique().sort()).iter_rows())
    assert found == {"stars": [0, 1, 2], "reviews": [0, 2]}
    assert set(load_split(settings, params, "train", ["reviews"])["label"]) == {0, 1}
    assert set(load_slices(settings, params)["reviews"]["label"]) == {0, 2}
    assert set(load_slices(settings, params, ["reviews"])["balanced"]["label"]) == {0, 1}


def test_the_balanced_slice_has_as_many_of_each_class(project: Project) -> None:
    report = preprocess(project.settings, project.params).slices
    assert report is not None
    stars = load_slices(project.settings, project.params, ["stars"])["balanced"]
    assert stars["label"].value_counts()["count"].n_unique() == 1
    assert list(report.slices["stars"]) == ["negative", "neutral", "positive"]


def test_the_commonest_label_of_a_text_counts_and_a_tie_does_not(project: Project) -> None:
    repeated = [("twice neutral", "3"), ("twice neutral", "3"), ("twice neutral", "5")]
    tied = [("a tie", "1"), ("a tie", "3"), ("a tie", "5")]
    project.write(csv_of([*rows("1,3,5", 200, "star"), *repeated, *tied]), "stars.csv")
    (report,) = preprocess(project.settings, project.params, ["stars"]).datasets
    assert (report.dropped["tie"], report.conflicting) == (3, 2)
    parts = [load_split(project.settings, project.params, p, ["stars"]) for p in ("train",)]
    kept = pl.concat(parts).filter(pl.col("text") == "twice neutral")["label"].to_list()
    assert kept in ([1], [])  # it may stand in another split


def test_rows_by_class_are_listed_and_verified(project: Project) -> None:
    stars, reviews = list_datasets(project.settings, project.params)
    assert stars.classes == {"negative": 120, "neutral": 60, "positive": 120}
    assert (reviews.negative, reviews.classes) == (100, {"negative": 100, "positive": 100})
    (found,) = verify(project.settings, project.params, ["stars"])
    assert found.usable
    assert list(found.classes) == ["negative", "neutral", "positive"]


def test_a_declared_class_without_rows_is_named(project: Project) -> None:
    project.write(csv_of(rows("1,5", 100, "star")), "stars.csv")
    with pytest.raises(DataError, match=r"has no neutral texts .* a model needs all 3 classes"):
        preprocess(project.settings, project.params, ["stars"])


def test_a_class_that_a_split_lacks_is_said_and_stops_only_training(project: Project) -> None:
    few = [("one", "3"), ("two", "3"), ("three", "3")]
    project.write(csv_of([*rows("1,5", 100, "star"), *few]), "stars.csv")
    (report,) = preprocess(project.settings, project.params, ["stars"]).datasets
    absent = [part for part, counts in report.splits.items() if not counts["neutral"]]
    assert absent
    for part in absent:
        assert any(f"the {part} split has no neutral texts" in said for said in report.warnings)
        if part == "train":
            with pytest.raises(DataError, match="has no neutral texts"):
                load_split(project.settings, project.params, "train", ["stars"])
        else:
            assert load_split(project.settings, project.params, part, ["stars"]).height


def test_an_undeclared_label_is_told_where_it_could_go(project: Project) -> None:
    project.write(csv_of(rows("1,3,5,9", 100, "star")), "stars.csv")
    with pytest.raises(DataError, match=r"labels\.negative, labels\.neutral or labels\.positive"):
        preprocess(project.settings, project.params, ["stars"])

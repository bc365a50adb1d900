"""Slices are cut from the test splits as their description says."""

from __future__ import annotations

import math
import re
from collections import Counter

import polars as pl
import pytest

from pipelines.datasets.loading import load_slices, load_split
from pipelines.datasets.preparing import preprocess
from pipelines.datasets.slicing import prepare_slices
from pipelines.errors import DataError
from tests.unit.datasets.project import Project, csv_of

VOCABULARY = [f"word{rank}" for rank in range(60)]


def rows(number: int, prefix: str) -> list[tuple[str, str]]:
    """Texts of different lengths whose words are usual or not; one in four is negative."""
    made = []
    for i in range(number):
        words = [VOCABULARY[(i * j * j) % (1 + (i + j) % 60)] for j in range(1, 2 + i % 23)]
        made.append((f"{prefix}{i} " + " ".join(words), "neg" if i % 4 == 0 else "pos"))
    return made


@pytest.fixture
def sliced(project: Project) -> Project:
    project.declare(one={"path": "one.csv"}, two={"path": "two.csv"})
    project.write(csv_of(rows(900, "one")), "one.csv")
    project.write(csv_of(rows(500, "two")), "two.csv")
    preprocess(project.settings, project.params)
    return project


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_slices_come_from_the_test_splits(sliced: Project) -> None:
    slices = load_slices(sliced.settings, sliced.params)
    test = set(load_split(sliced.settings, sliced.params, "test").rows())

    assert set(slices) == {
        "balanced", "short", "long", "common_words", "rare_words", "one", "two",
    }  # fmt: skip
    for texts in slices.values():
        assert texts.schema == {"text": pl.String, "label": pl.Int8, "dataset": pl.String}
        assert set(texts.rows()) <= test
        assert texts["text"].n_unique() == texts.height > 0
    assert set(slices["one"].rows()) | set(slices["two"].rows()) == test
    assert set(slices["one"]["dataset"]) == {"one"}


def test_balanced_has_as_many_of_each_class_in_each_data_set(sliced: Project) -> None:
    test = load_split(sliced.settings, sliced.params, "test")
    balanced = load_slices(sliced.settings, sliced.params)["balanced"]

    for name in ("one", "two"):
        smaller = min(Counter(test.filter(dataset=name)["label"]).values())
        assert Counter(balanced.filter(dataset=name)["label"]) == {0: smaller, 1: smaller}


def test_short_and_long_are_the_outer_quarters(sliced: Project) -> None:
    slices = load_slices(sliced.settings, sliced.params)
    for name in ("one", "two"):
        lengths = sorted(len(words(text)) for text in slices[name]["text"])
        quarter = len(lengths) // 4
        for part, expected in (("short", lengths[:quarter]), ("long", lengths[-quarter:])):
            texts = slices[part].filter(dataset=name)["text"]
            assert sorted(len(words(text)) for text in texts) == expected


def test_common_and_rare_words_are_the_outer_quarters_of_train_frequency(sliced: Project) -> None:
    slices = load_slices(sliced.settings, sliced.params)
    for name in ("one", "two"):
        train = load_split(sliced.settings, sliced.params, "train", [name])["text"]
        documents = Counter(word for text in train for word in set(words(text)))

        def commonness(text: str, documents: Counter[str] = documents) -> float:
            logs = [math.log1p(documents[word]) for word in words(text)]
            return sum(logs) / len(logs)

        values = sorted(commonness(text) for text in slices[name]["text"])
        quarter = len(values) // 4
        for part, expected in (
            ("rare_words", values[:quarter]),
            ("common_words", values[-quarter:]),
        ):
            texts = slices[part].filter(dataset=name)["text"]
            assert sorted(map(commonness, texts)) == pytest.approx(expected)


def test_cutting_again_writes_the_same_bytes(sliced: Project) -> None:
    before = sliced.snapshot()

    prepare_slices(sliced.settings, sliced.params)

    assert sliced.snapshot() == before


def test_texts_without_words_are_sliced_too(project: Project) -> None:
    faces = [":-)" + ")" * i for i in range(60)] + [":-(" + "(" * i for i in range(60)]
    project.write(csv_of([(face, "pos" if ")" in face else "neg") for face in faces]))

    done = preprocess(project.settings, project.params)

    assert done.slices is not None
    assert "rare_words" in done.slices.slices


def test_unprepared_data_are_an_error(sliced: Project) -> None:
    before = sliced.snapshot()
    sliced.declare(one={"path": "one.csv"}, three={"path": "three.csv"})

    with pytest.raises(DataError, match="Run: olens preprocess three"):
        prepare_slices(sliced.settings, sliced.params)

    assert sliced.snapshot() == before

"""One row for each distinct text, and every other row accounted for."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.cleaning import Tally, clean
from pipelines.tables.options import Limits
from pipelines.tables.reading import open_table
from pipelines.text.normalise import normalise
from tests.unit.datasets.project import csv_of, source_of


def cleaned(
    rows: list[tuple[str, str]], folder: Path, **changes: object
) -> tuple[pl.DataFrame, Tally]:
    path = folder / "file.csv"
    path.write_text(csv_of(rows), encoding="utf-8", newline="")
    texts, tally, _ = clean(source_of(path, **changes))
    return texts, tally


def test_equal_texts_become_one_with_the_label_of_the_majority(tmp_path: Path) -> None:
    rows = [
        ("So<br />good &amp; cheap", "pos"),
        ("So good & cheap", "neg"),
        ("  So   good & cheap ", "pos"),
        ("once", "neg"),
        ("Once", "pos"),
        ("mostly bad", "neg"),
        ("mostly bad", "pos"),
        ("mostly bad", "neg"),
    ]

    texts, tally = cleaned(rows, tmp_path)

    assert sorted(texts.select("text", "label").rows()) == [
        ("Once", 1),
        ("So good & cheap", 1),
        ("mostly bad", 0),
        ("once", 0),
    ]
    assert (tally.rows, tally.kept, tally.duplicate, tally.conflicting) == (8, 4, 4, 2)


def test_ties_are_left_out(tmp_path: Path) -> None:
    rows = [("a", "pos"), ("a", "neg"), ("b", "pos"), ("c", "neg")]

    texts, tally = cleaned(rows, tmp_path)

    assert sorted(texts["text"]) == ["b", "c"]
    assert (tally.tie, tally.duplicate, tally.conflicting) == (2, 0, 1)


def test_blanks_and_declared_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        ("a", "pos"),
        ("b", ""),
        ("", "pos"),
        ("<br /> &nbsp;", "neg"),
        ("c", "Skip"),
        ("d", "5.0"),
        ("", ""),
        ("e", "new"),
    ]

    texts, tally = cleaned(rows, tmp_path, drop=["skip", "5"])

    assert texts["text"].to_list() == ["a"]
    assert tally == Tally(
        rows=8, kept=1, blank_label=2, dropped_label=2, unknown_label=1, blank_text=2
    )


def test_batches_do_not_matter(tmp_path: Path) -> None:
    rows = [(f"text {i % 13}", ("pos", "neg", "pos")[i % 3]) for i in range(50)]
    whole, tally = cleaned(rows, tmp_path)
    progress: list[int] = []
    source = source_of(tmp_path / "file.csv")
    small = open_table(source.path, limits=Limits(batch=100))

    texts, again, _ = clean(source, progress.append, small)

    assert texts.equals(whole)
    assert again == tally
    assert sum(progress) == 50
    assert len(progress) > 1


words = st.lists(st.sampled_from(["a", "b", "<br>", "&amp;", " ", "\n", '"']), max_size=3)
labels = st.sampled_from(["pos", "neg", "NEG ", "", "skip", "what"])
some_rows = st.lists(st.tuples(words.map("".join), labels), max_size=25)


@settings(max_examples=60, deadline=None)
@given(some_rows, st.randoms(use_true_random=False))
def test_cleaning_matches_its_definition(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    shuffle: random.Random,
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    texts, tally = cleaned(rows, folder, drop=["skip"])

    votes: dict[str, list[int]] = defaultdict(list)
    for text, label in rows:
        if label.strip().lower() in ("pos", "neg") and normalise(text):
            votes[normalise(text)].append(1 if label == "pos" else -1)
    assert dict(texts.select("text", "label").rows()) == {
        text: int(sum(vote) > 0) for text, vote in votes.items() if sum(vote)
    }
    assert tally.rows == len(rows)
    assert tally.rows == tally.kept + sum(tally.dropped.values()) + tally.unknown_label
    assert texts["digest"].is_sorted()
    assert texts["digest"].n_unique() == texts.height

    shuffled = shuffle.sample(rows, len(rows))
    again, same = cleaned(shuffled, folder, drop=["skip"])
    assert again.equals(texts)
    assert same == tally

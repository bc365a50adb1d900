"""`preprocess` as a function: what it writes, and when it writes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations

import polars as pl
import pytest

from pipelines.datasets.loading import load_report, load_split
from pipelines.datasets.preparing import preprocess
from pipelines.errors import DataError
from pipelines.files import fingerprint
from pipelines.text.normalise import normalise
from tests.unit.datasets.project import Project, csv_of, rows_of


def test_every_text_is_in_one_split(project: Project) -> None:
    path = project.write(csv_of(rows_of(400)))

    done = preprocess(project.settings, project.params)

    report = done.datasets[0]
    parts = {
        name: pl.read_parquet(project.prepared / "reviews" / f"{name}.parquet")
        for name in ("train", "val", "test")
    }
    for name, part in parts.items():
        assert part.schema == {"text": pl.String, "label": pl.Int8, "digest": pl.UInt64}
        positive = int(part["label"].sum())
        assert report.splits[name] == {"negative": part.height - positive, "positive": positive}
    found = {text: label for part in parts.values() for text, label, _ in part.rows()}
    assert found == {normalise(text): int(label == "pos") for text, label in rows_of(400)}
    assert sum(part.height for part in parts.values()) == report.kept == 400
    assert (report.size, report.sha256) == fingerprint(path)
    assert load_report(project.settings, "reviews") == report


def test_row_order_changes_nothing_but_the_source(project: Project) -> None:
    rows = [*rows_of(300), *rows_of(30), ("tie", "pos"), ("tie", "neg")]
    project.write(csv_of(rows))
    preprocess(project.settings, project.params)
    before = project.snapshot()
    random.Random(0).shuffle(rows)
    project.write(csv_of(rows))

    preprocess(project.settings, project.params)

    after = project.snapshot()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"data/prepared/reviews/report.json"}


def test_what_does_not_fit_into_memory_is_prepared_in_parts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*rows_of(900), *rows_of(300), ("tie", "pos"), ("tie", "neg"), ("", "pos")]
    project.write(csv_of(rows))
    whole = preprocess(project.settings, project.params).datasets
    files = sorted((project.prepared / "reviews").glob("*.parquet"))
    before = {file.name: pl.read_parquet(file) for file in files}
    monkeypatch.setenv("OLENS_TRAINING__MEMORY", "64KiB")  # eight parts and more

    assert preprocess(project.settings, project.params).datasets == whole

    assert {path.name for path in (project.prepared / "reviews").iterdir()} == {
        *before,
        "report.json",
    }
    for file in files:
        assert pl.read_parquet(file).equals(before[file.name])


def test_running_again_writes_the_same_bytes(project: Project) -> None:
    project.write(csv_of(rows_of(300)))
    preprocess(project.settings, project.params)
    before = project.snapshot()

    preprocess(project.settings, project.params)

    assert project.snapshot() == before


def test_no_text_is_in_two_splits_even_of_different_data_sets(project: Project) -> None:
    project.declare(one={"path": "one.csv"}, two={"path": "two.jsonl"})
    project.write(csv_of(rows_of(300)), "one.csv")
    other = [(text.replace(" ", "<br/> "), label) for text, label in rows_of(450)[150:]]
    frame = pl.DataFrame(other, schema=["text", "label"], orient="row")
    frame.write_ndjson(project.raw / "two.jsonl")

    preprocess(project.settings, project.params)

    texts = {
        split: set(load_split(project.settings, project.params, split)["text"])
        for split in ("train", "val", "test")
    }
    for first, second in combinations(texts, 2):
        assert not texts[first] & texts[second]
    assert len(set().union(*texts.values())) == 450
    in_both = set(load_split(project.settings, project.params, "test", ["one"])["text"])
    assert in_both & set(load_split(project.settings, project.params, "test", ["two"])["text"])


def test_another_seed_gives_another_split(project: Project) -> None:
    project.write(csv_of(rows_of(300)))
    preprocess(project.settings, project.params)
    before = set(load_split(project.settings, project.params, "test")["text"])
    project.declare(seed=43)

    preprocess(project.settings, project.params)

    assert set(load_split(project.settings, project.params, "test")["text"]) != before


def test_adding_a_data_set_leaves_the_others_alone(project: Project) -> None:
    project.write(csv_of(rows_of(300)))
    preprocess(project.settings, project.params)
    before = project.snapshot()
    project.declare(reviews={}, more={"path": "more.csv"})
    project.write(csv_of(rows_of(200, prefix="other")), "more.csv")

    done = preprocess(project.settings, project.params, ["more"])

    assert done.slices is None
    after = project.snapshot()
    assert {name: after[name] for name in before} == before
    assert {name.rpartition("/")[0] for name in after - before.keys()} == {"data/prepared/more"}


def test_the_sample_is_read_only_when_asked_for(project: Project) -> None:
    project.write(csv_of(rows_of(200)), sample=True)
    with pytest.raises(DataError, match="no such file"):
        preprocess(project.settings, project.params)

    done = preprocess(project.settings, project.params, sample=True)

    assert done.datasets[0].origin == "sample"
    assert load_report(project.settings, "reviews").origin == "sample"


def test_a_small_data_set_comes_with_a_warning(project: Project) -> None:
    project.write(csv_of(rows_of(2)))

    done = preprocess(project.settings, project.params)

    assert any("too small" in warning for warning in done.datasets[0].warnings)


def one_class(project: Project) -> str:
    project.write(csv_of([(text, "pos") for text, _ in rows_of(50)]))
    return "has no negative texts among the 50 that can be used"


def one_class_after_cleaning(project: Project) -> str:
    project.write(csv_of([("tie", "neg"), ("tie", "pos"), ("a", "pos"), (" ", "neg")]))
    return "has no negative texts among the 1 that can be used"


def no_rows(project: Project) -> str:
    project.write("text,label\n")
    return "has no rows below its header"


def nothing_left(project: Project) -> str:
    project.write(csv_of([("", "pos"), ("a", ""), ("b", "pos"), ("b", "neg")]))
    return r"none of its 4 rows can be used \(1 blank label, 1 blank text, 2 tie\)"


def unknown_label(project: Project) -> str:
    project.write(csv_of([*rows_of(20), ("a", "unsure")]))
    return r"'unsure' \(1 row, line 22\)"


def broken_utf8(project: Project) -> str:
    project.declare(reviews={"encoding": "utf-8"})
    project.write(csv_of(rows_of(20)).encode() + b"caf\xe9,pos\n")
    return "byte 0xE9"


def missing_file(project: Project) -> str:
    (project.raw / "reviews.csv").unlink(missing_ok=True)
    return "there is no such file"


def missing_column(project: Project) -> str:
    project.write("review,label\na,pos\n")
    return "has no column 'text'"


FAULTS = [
    one_class,
    one_class_after_cleaning,
    no_rows,
    nothing_left,
    unknown_label,
    broken_utf8,
    missing_file,
    missing_column,
]


@pytest.mark.parametrize("spoil", FAULTS)
def test_an_error_keeps_the_data_prepared_before(
    spoil: Callable[[Project], str], project: Project
) -> None:
    project.write(csv_of(rows_of(200)))
    preprocess(project.settings, project.params)
    before = project.snapshot()
    message = spoil(project)

    with pytest.raises(DataError, match=message):
        preprocess(project.settings, project.params)

    assert project.snapshot() == before


@pytest.mark.parametrize("spoil", FAULTS)
def test_an_error_writes_nothing(spoil: Callable[[Project], str], project: Project) -> None:
    message = spoil(project)

    with pytest.raises(DataError, match=message):
        preprocess(project.settings, project.params)

    assert not project.snapshot()


def test_a_missing_file_is_noticed_before_any_work(project: Project) -> None:
    project.declare(reviews={}, other={"path": "other.csv"})
    project.write(csv_of(rows_of(200)))

    with pytest.raises(DataError, match=r"other\.csv: there is no such file"):
        preprocess(project.settings, project.params)

    assert not project.snapshot()


def test_unknown_and_reserved_names_are_errors(project: Project) -> None:
    with pytest.raises(DataError, match="Did you mean 'reviews'"):
        preprocess(project.settings, project.params, ["reveiws"])

    project.declare(short={})
    project.write(csv_of(rows_of(200)))
    with pytest.raises(DataError, match="that of a slice"):
        preprocess(project.settings, project.params)

"""Doubtful labels: found where some were made wrong, and said as they are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipelines.errors import DataError
from pipelines.labelling.doubts import Doubts, LabelledRows, distinct_texts, find_doubts
from pipelines.labels import BINARY, Classes
from tests.classes import SENTIMENTS, corpus

pytest.importorskip("cleanlab")


def labelled_rows(texts: list[str], labels: list[int], classes: Classes) -> LabelledRows:
    frame = pl.DataFrame(
        {"line": range(2, len(texts) + 2), "text": texts, "label": labels},
        schema_overrides={"label": pl.Int8},
    )
    return LabelledRows("made.csv", frame, classes, "line", [])


def with_wrong_labels(classes: Classes, n: int, wrong: int) -> tuple[LabelledRows, set[int]]:
    """A corpus and the lines whose labels are wrong."""
    texts, labels = corpus(classes, n)
    texts = [f"{text} number{i}" for i, text in enumerate(texts)]
    rows = np.random.default_rng(1).choice(n, wrong, replace=False)
    labels[rows] = (labels[rows] + 1) % len(classes.names)
    return labelled_rows(texts, labels.tolist(), classes), set((rows + 2).tolist())


@pytest.mark.parametrize("classes", [BINARY, SENTIMENTS], ids=["2", "3"])
def test_wrong_labels_are_found(classes: Classes) -> None:
    data, wrong = with_wrong_labels(classes, 600, 30)
    found = find_doubts(data)

    first = found.doubts[:30]
    assert len(wrong & {doubt.line for doubt in first}) >= 27
    assert found.texts == 600
    assert 20 <= sum(doubt.reason == "probably wrong" for doubt in first) <= found.wrong <= 60
    right = dict(zip(data.rows["line"], data.rows["label"], strict=True))
    for doubt in first:
        assert doubt.label == classes.names[right[doubt.line]]
        assert doubt.suggestion != doubt.label
    probabilities = [doubt.probability for doubt in found.doubts]
    assert probabilities == sorted(probabilities)


def contradicted(found: Doubts) -> dict[int, str]:
    return {d.line: d.reason.rpartition("; ")[2] for d in found.doubts if " text is " in d.reason}


def test_like_texts_with_other_labels_are_found() -> None:
    data, _ = with_wrong_labels(BINARY, 100, 0)
    long = " ".join(f"w{n}" for n in range(40))
    more = [
        (f"{long} end", 0),  # line 102
        (f"{long} stop", 1),
        ("The same  thing", 1),
        ("The same <b>thing</b>", 0),
        ("The same thing", 0),
    ]
    texts, labels = zip(*more, strict=True)
    rows = pl.concat([data.rows, labelled_rows(list(texts), list(labels), BINARY).rows])
    rows = rows.with_columns(line=pl.int_range(2, rows.height + 2))
    found = find_doubts(LabelledRows("made.csv", rows, BINARY, "line", []))

    assert contradicted(found) == {
        102: "nearly the same text is POSITIVE in line 103",
        103: "nearly the same text is NEGATIVE in line 102",
        105: "the same text is POSITIVE in line 104",
    }
    assert found.contradicted == 3
    assert found.texts == 103
    (same,) = (each for each in found.candidates() if each.source == "made.csv:105")
    assert (same.text, same.label) == ("The same <b>thing</b>", "NEGATIVE")


def test_an_ambiguous_text_is_said_to_be_so() -> None:
    texts, labels = corpus(BINARY, 400)
    texts = [f"{text} number{i}" for i, text in enumerate(texts)]
    rows = labelled_rows([*texts, "word0x1 word1x1 the plot"], [*labels.tolist(), 1], BINARY)
    found = find_doubts(rows)
    assert {d.line: d.reason for d in found.doubts if d.line == 402} == {402: "ambiguous"}


def test_classes_with_few_texts_are_left_out_or_an_error() -> None:
    texts, labels = corpus(SENTIMENTS, 300)
    labels[labels == 1] = 0
    labels[0] = 1
    data = labelled_rows(texts, labels.tolist(), SENTIMENTS)
    found, messages = distinct_texts(data)
    assert found.classes == BINARY
    assert messages == ["Left out: 1 texts of NEUTRAL, which are too few."]

    labels[labels == 2] = 0
    with pytest.raises(DataError, match=r"1 NEUTRAL, 0 POSITIVE"):
        distinct_texts(labelled_rows(texts, labels.tolist(), SENTIMENTS))


def test_texts_that_are_alike_are_held_out_together() -> None:
    from pipelines.labelling.doubts import _folds

    texts, labels = corpus(BINARY, 200)
    data = labelled_rows([f"{t} n{i}" for i, t in enumerate(texts)], labels.tolist(), BINARY)
    found, _ = distinct_texts(data)
    folds = _folds(found)
    assert np.unique(folds).tolist() == [0, 1, 2, 3, 4]
    for group in np.unique(found.groups):
        assert np.unique(folds[found.groups == group]).size == 1

"""Columns of verdicts: the same as one verdict after the other."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.batch.verdicts import added_columns, judge_column, verdict_columns
from pipelines.inference.compiling import fuse
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.labels import Classes
from tests.classes import corpus, fused
from tests.fitted import fit_tiny

SPAM = Classes(("ham", "spam"), ordered=False)
TEXTS = ["great great film", "rude", "", "zyzzyva", "1234", "the the the cold awful", "😀 tasty"]


def tiny() -> LinearScorer:
    scorer = fuse(fit_tiny("nbsvm"))
    assert scorer
    return scorer


@pytest.mark.parametrize("make", [tiny, fused, lambda: fused(classes=SPAM)])
def test_columns_are_those_of_single_judgements(make: Callable[[], LinearScorer]) -> None:
    scorer = make()
    texts = [*TEXTS, *corpus(scorer.classes, 50, seed=3)[0]]
    column = pl.Series([None, *texts, "  "])

    found = judge_column(scorer, column, "reviews-v1")

    judged = iter(scorer.judge([text for text in texts if text]))
    each = [next(judged) if text and text.strip() else None for text in column]
    expected = verdict_columns(each, "reviews-v1", scorer.classes)
    assert_frame_equal(found, expected, check_exact=True)
    assert tuple(found.columns) == added_columns(scorer.classes)
    assert {"none", "clear"} <= set(found["evidence"])


def test_a_column_without_texts() -> None:
    found = judge_column(tiny(), pl.Series(["", None], dtype=pl.String), "reviews-v1")
    assert (
        found.select("prediction", "evidence", "model").rows() == [(None, "none", "reviews-v1")] * 2
    )

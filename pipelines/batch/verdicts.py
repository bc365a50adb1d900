"""Texts of a table -> the columns that are added to its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.labels import BINARY, POSITIVE, Classes

if TYPE_CHECKING:
    import polars as pl

    from pipelines.inference.evidence import Judgement
    from pipelines.inference.linear_scorer import LinearScorer
    from pipelines.inference.scorer import Scorer
    from pipelines.tables.table import Table

ADDED: Final = ("prediction", "confidence", "probability", "evidence", "known", "model")
"""Columns that are added to a row; `probability` is that of POSITIVE, which sorts."""
WORDS: Final = "words"
"""The column with the strongest words, if they are asked for."""


def added_columns(classes: Classes) -> tuple[str, ...]:
    """Columns that are added to a row: `ADDED`, or with the probability of each other class."""
    if classes.names == BINARY.names:
        return ADDED
    each = (f"probability {name}" for name in classes.names)
    return *ADDED[:2], *each, *ADDED[3:]


class RowVerdict(msgspec.Struct, frozen=True):
    """The verdict on one row; there is none where the row has no text.

    Attributes
    ----------
    row : int
        Number of the row in the file, from 1.
    text : str
    prediction : str or None
    confidence : float or None
        Probability of the prediction.
    known : float or None
    evidence : str
        As in `Judgement`; ``none`` where the row has no text.
    """

    row: int
    text: str
    prediction: str | None
    confidence: float | None
    known: float | None
    evidence: str


def judge_rows(scorer: Scorer, table: Table, column: str) -> Iterator[RowVerdict]:
    """Judge the texts in `column`, row by row, in the order of the file.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    shown = ("prediction", "confidence", "known", "evidence")
    for batch in table.batches([column]):
        texts = batch.frame[column]
        judged = judge_column(scorer, texts, "").select(shown)
        for row, text, verdict in zip(batch.rows, texts, judged.iter_rows(), strict=True):
            yield RowVerdict(row, text or "", *verdict)


def judge_column(scorer: Scorer, texts: pl.Series, model: str, words: int = 0) -> pl.DataFrame:
    """The `added_columns` of n texts, and `WORDS` if there are any to be.

    Parameters
    ----------
    scorer : Scorer
    texts : pl.Series of String, length n
        A blank one, or null, has the evidence ``none`` and nulls.
    model : str
        ID of the model.
    words : int
        How many of the strongest words to add.
    """
    import polars as pl

    from pipelines.inference.linear_scorer import LinearScorer

    written = texts.str.strip_chars().fill_null("") != ""
    given = texts.filter(written)
    if isinstance(scorer, LinearScorer):
        found = _judged(scorer, given, model)
    else:
        found = verdict_columns(scorer.judge(given.to_list()), model, scorer.classes)
    if words:
        strongest = [_strongest(scorer, text, words) for text in given]
        found = found.with_columns(pl.Series(WORDS, strongest, dtype=pl.String))
    if len(given) == len(texts):
        return found
    places = pl.select(pl.when(written).then(written.cum_sum() - 1)).to_series()
    spread = found.select(pl.all().gather(places)) if len(given) else found.clear(len(texts))
    return spread.with_columns(pl.col("evidence").fill_null("none"), model=pl.lit(model))


def verdict_columns(
    judged: Sequence[Judgement | None], model: str, classes: Classes = BINARY
) -> pl.DataFrame:
    """The `added_columns` of n rows; None is a row without a text."""
    import polars as pl

    names = added_columns(classes)
    kinds = dict.fromkeys(names, pl.Float64) | dict.fromkeys(
        ("prediction", "evidence", "model"), pl.String
    )
    own = [name for name in ADDED[:-1] if name in names]
    columns: dict[str, list[object]] = {
        name: [None if found is None else getattr(found, name) for found in judged] for name in own
    }
    for number, name in enumerate(names[2:-3] if classes.names != BINARY.names else ()):
        columns[name] = [None if found is None else found.each[number] for found in judged]
    frame = pl.DataFrame(columns, schema_overrides=kinds)
    frame = frame.with_columns(pl.col("evidence").fill_null("none"), model=pl.lit(model, pl.String))
    return frame.select(names)


def _judged(scorer: LinearScorer, texts: pl.Series, model: str) -> pl.DataFrame:
    """What `verdict_columns` makes of the scorer's judgements, without an object for each text."""
    import polars as pl

    from pipelines.inference.evidence import EVIDENCE

    judged, classes = scorer.judge_columns(texts), scorer.classes
    names = added_columns(classes)
    shown = [classes.names.index(POSITIVE)] if classes.names == BINARY.names else None
    columns = {
        "prediction": pl.Series(classes.names).gather(judged.predicted.astype("u4")),
        "confidence": judged.confidence,
        **dict(zip(names[2:-3], judged.each[:, shown or slice(None)].T, strict=True)),
        "evidence": pl.Series(EVIDENCE).gather(judged.evidence.astype("u4")),
        "known": judged.known,
        "model": pl.repeat(model, len(texts), dtype=pl.String, eager=True),
    }
    return pl.DataFrame(columns).select(names)


def _strongest(scorer: Scorer, text: str, words: int) -> str:
    """``rude -0.61, cold -0.44``: the words that speak most for POSITIVE or against it."""
    explained = scorer.explain(text)
    terms = sorted(
        [*explained.top_for, *explained.top_against],
        key=lambda term: abs(term.contribution),
        reverse=True,
    )
    return ", ".join(f"{term.text} {term.contribution:+.2f}" for term in terms[:words])

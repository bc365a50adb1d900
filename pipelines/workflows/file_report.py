"""What the verdicts on the rows of a file say together, and which rows to read."""

from __future__ import annotations

import string
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from pipelines.errors import DataError
from pipelines.labels import BINARY, Classes
from pipelines.tables.findings import shortened
from pipelines.tables.label_maps import canonical_labels, map_labels
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    import polars as pl

    from pipelines.inference.evidence import Judgement
    from pipelines.inference.explanation import Explanation
    from pipelines.inference.scorer import Scorer

BINS: Final = 20
"""Bars of the histogram."""
ROWS_OF_PAGE: Final = 50
MOST_GROUPS: Final = 12
MOST_WORDS: Final = 8
_EXPLAINED: Final = 150
"""Rows of each class whose words are counted."""
_LONGEST: Final = 2_000
"""Characters of such a row."""
_SHOWN: Final = 400
"""Characters of a text in a list."""

Order = Literal["negative", "positive", "unsure", "file"]


class Accuracy(msgspec.Struct, frozen=True):
    """How often predictions agree with labels, with Wilson's 95 % interval."""

    share: float
    low: float
    high: float
    n: int


class Group(msgspec.Struct, frozen=True):
    """The rows with one value in the column that breaks the file down."""

    value: str
    rows: int
    positive: float
    """Share of `POSITIVE` among the predicted rows; of more than two classes, the mean place."""
    accuracy: float | None
    """Of the labelled rows; None without any."""


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over the rows of a file.

    Attributes
    ----------
    rows, blank, unsupported : int
        All rows; those without a text; predicted ones that are not enough to go by.
    counts : dict
        Rows by prediction.
    bins : list of int
        Predicted rows by their place, in `BINS` steps from 0 to 1: the probability of `POSITIVE`,
        of ordered classes the expected place between the first and the last, of others the
        confidence.
    accuracy : Accuracy or None
        Against the labels of the file, if it has any.
    confusion : dict
        Rows by label and prediction.
    groups : list of Group
        The largest ones, largest first.
    more_groups : int
        Those that are left out.
    """

    rows: int
    blank: int
    unsupported: int
    counts: dict[str, int]
    bins: list[int]
    accuracy: Accuracy | None
    confusion: dict[tuple[str, str], int]
    groups: list[Group]
    more_groups: int


class WordTotal(msgspec.Struct, frozen=True):
    """A word, and what it contributes to all the texts that were looked at."""

    text: str
    count: int
    contribution: float


class RowQuery(msgspec.Struct, frozen=True):
    """Which rows of a file to list."""

    order: Order = "negative"
    only: str = ""
    """A prediction, `none` (not enough to go by), `wrong` (not as labelled); empty: all rows."""
    search: str = ""
    """Characters that the text must have, in any case."""
    page: int = 1


class Row(msgspec.Struct, frozen=True):
    """One row of the list."""

    row: int
    text: str
    prediction: str | None
    confidence: float | None
    evidence: str
    label: str | None


class RowPage(msgspec.Struct, frozen=True):
    """A part of the rows that were asked for."""

    rows: list[Row]
    found: int
    page: int
    pages: int


def judged_rows(
    texts: pl.Series,
    judged: Sequence[Judgement | None],
    numbers: pl.Series,
    labels: pl.Series | None = None,
    groups: pl.Series | None = None,
    classes: Classes = BINARY,
) -> pl.DataFrame:
    """The rows of a file with their verdicts, which the other functions take.

    Parameters
    ----------
    texts : pl.Series
        One for each row.
    judged : sequence
        None for a row without a text.
    numbers : pl.Series
        The number of each row in the file.
    labels : pl.Series, optional
        Of `read_labels`.
    groups : pl.Series, optional
        The column that breaks the file down.
    classes : Classes
    """
    import polars as pl

    verdicts = [
        (None, None, None, "none")
        if found is None
        else (found.prediction, found.confidence, _place(found, classes), found.evidence)
        for found in judged
    ]
    kinds = {
        "prediction": pl.String,
        "confidence": pl.Float64,
        "probability": pl.Float64,
        "evidence": pl.String,
    }
    return pl.DataFrame(verdicts, schema=kinds, orient="row").with_columns(
        row=numbers,
        text=texts.fill_null(""),
        label=pl.lit(None, pl.String) if labels is None else labels,
        group=pl.lit(None, pl.String) if groups is None else groups.cast(pl.String),
    )


def _place(found: Judgement, classes: Classes) -> float:
    """What sorts rows; see `FileReport`."""
    if classes.two:
        return found.each[1]
    if not classes.ordered:
        return found.confidence
    expected = sum(number * share for number, share in enumerate(found.each))
    return expected / (len(classes.names) - 1)


def read_labels(values: pl.Series, classes: Classes = BINARY) -> tuple[pl.Series | None, str]:
    """The class of each value of a column of labels, and what was understood, in a sentence.

    A value that means none is null. None instead of the column: its values cannot be understood.
    """
    import polars as pl

    canonical = values.to_frame().select(canonical_labels(pl.col(values.name))).to_series()
    counts = Counter(canonical.drop_nulls().to_list())
    name = shortened(values.name)
    try:
        found = map_labels(counts, classes=classes)
    except DataError:
        return None, f"Column {name!r} was not compared: it is not clear what its labels mean."
    names = {value: classes.names[code] for value, code in found.codes.items()}
    labels = canonical.replace_strict(names, default=None, return_dtype=pl.String)
    return labels, f"Column {name!r}: {found.describe(counts)[0]}"


def report(rows: pl.DataFrame, classes: Classes = BINARY) -> FileReport:
    """Count the `judged_rows` of a file."""
    import polars as pl

    predicted = rows.filter(pl.col("prediction").is_not_null())
    labelled = predicted.filter(pl.col("label").is_not_null())
    bins = (predicted["probability"] * BINS).cast(pl.Int64).clip(0, BINS - 1).to_list()
    counted = Counter(bins)
    found = Counter(predicted["prediction"].to_list())
    groups, more = _groups(predicted, classes)
    return FileReport(
        rows=rows.height,
        blank=rows.height - predicted.height,
        unsupported=predicted.filter(pl.col("evidence") == "none").height,
        counts={name: found[name] for name in classes.names},
        bins=[counted[at] for at in range(BINS)],
        accuracy=_accuracy(labelled),
        confusion=dict(Counter(labelled.select("label", "prediction").iter_rows())),
        groups=groups,
        more_groups=more,
    )


def browse(rows: pl.DataFrame, query: RowQuery) -> RowPage:
    """The `judged_rows` that `query` asks for, a page of them."""
    import polars as pl

    wanted = rows.filter(_condition(query))
    by, descending = {
        "negative": ("probability", False),
        "positive": ("probability", True),
        "unsure": ("confidence", False),
        "file": ("row", False),
    }[query.order]
    wanted = wanted.sort(by, descending=descending, nulls_last=True, maintain_order=True)
    pages = max(1, -(-wanted.height // ROWS_OF_PAGE))
    page = min(max(1, query.page), pages)
    part = wanted.slice((page - 1) * ROWS_OF_PAGE, ROWS_OF_PAGE).with_columns(
        pl.col("text").map_elements(lambda text: in_one_line(text, _SHOWN), pl.String)
    )
    fields = part.select(Row.__struct_fields__)
    return RowPage([Row(*values) for values in fields.iter_rows()], wanted.height, page, pages)


def words_behind(scorer: Scorer, rows: pl.DataFrame) -> dict[str, list[WordTotal]]:
    """For each class, the words that speak most for it in a sample of the `judged_rows`.

    Empty for a model that is not linear: explaining many texts would take it minutes.
    """
    import polars as pl

    if scorer.kind != "linear":
        return {}
    short = rows.filter(
        (pl.col("evidence") != "none") & (pl.col("text").str.len_chars() <= _LONGEST)
    )
    classes = scorer.classes
    if not classes.two:
        return {name: _words_for(scorer, short, name) for name in classes.names}
    totals: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for name in classes.names:
        for explanation in _explained(scorer, short, name, _EXPLAINED):
            for word in explanation.words:
                if word.text not in string.punctuation:
                    totals[word.text.lower()] += word.contribution
                    counts[word.text.lower()] += 1
    ranked = sorted((each for each in totals.items() if each[1]), key=lambda each: each[1])
    low, high = classes.names
    strongest = {low: ranked[:MOST_WORDS], high: ranked[::-1][:MOST_WORDS]}
    return {
        name: [
            WordTotal(word, counts[word], total)
            for word, total in found
            if (total > 0) is (name == high)
        ]
        for name, found in strongest.items()
    }


def _explained(scorer: Scorer, rows: pl.DataFrame, name: str, sample: int) -> Iterator[Explanation]:
    """Explanations of evenly drawn rows that were judged to be of a class."""
    import polars as pl

    of_class = rows.filter(pl.col("prediction") == name)
    for text in of_class.gather_every(max(1, of_class.height // max(sample, 1)))["text"]:
        yield scorer.explain(text)


def _words_for(scorer: Scorer, rows: pl.DataFrame, name: str) -> list[WordTotal]:
    """Words that speak most for a class, of several, in texts that were judged to be of it."""
    totals: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    number = scorer.classes.names.index(name)
    sample = 2 * _EXPLAINED // len(scorer.classes.names)
    for explanation in _explained(scorer, rows, name, sample):
        parts = explanation.per_class.words if explanation.per_class else []
        for word, each in zip(explanation.words, parts, strict=True):
            if word.text not in string.punctuation:
                # Against the mean of all classes: that is what moves the probability.
                totals[word.text.lower()] += each[number] - sum(each) / len(each)
                counts[word.text.lower()] += 1
    ranked = sorted(totals.items(), key=lambda each: -each[1])[:MOST_WORDS]
    return [WordTotal(word, counts[word], total) for word, total in ranked if total > 0]


def _condition(query: RowQuery) -> pl.Expr:
    import polars as pl

    condition = pl.lit(True)
    if query.only == "none":
        condition = pl.col("prediction").is_not_null() & (pl.col("evidence") == "none")
    elif query.only == "wrong":
        condition = pl.col("label") != pl.col("prediction")
    elif query.only:
        condition = pl.col("prediction") == query.only
    if query.search:
        found = pl.col("text").str.to_lowercase().str.contains(query.search.lower(), literal=True)
        condition &= found
    return condition


def _accuracy(labelled: pl.DataFrame) -> Accuracy | None:
    import polars as pl

    if not labelled.height:
        return None
    from scipy.stats import binomtest

    right = labelled.filter(pl.col("label") == pl.col("prediction")).height
    interval = binomtest(right, labelled.height).proportion_ci(method="wilson")
    return Accuracy(right / labelled.height, interval.low, interval.high, labelled.height)


def _groups(predicted: pl.DataFrame, classes: Classes) -> tuple[list[Group], int]:
    """The largest groups of rows, and how many others there are."""
    import polars as pl

    if predicted["group"].null_count() == predicted.height:
        return [], 0
    found = (
        predicted.group_by(pl.col("group").fill_null("(blank)"))
        .agg(
            rows=pl.len(),
            positive=(pl.col("prediction") == classes.names[1]).mean()
            if classes.two
            else pl.col("probability").mean(),
            accuracy=(pl.col("label") == pl.col("prediction")).mean(),
        )
        .sort(["rows", "group"], descending=[True, False])
    )
    groups = [
        Group(shortened(value), rows, positive, accuracy)
        for value, rows, positive, accuracy in found.head(MOST_GROUPS).iter_rows()
    ]
    return groups, max(0, found.height - MOST_GROUPS)

"""The columns of a file: their names, the one with the texts, the one with the labels."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pipelines.errors import DataError
from pipelines.tables.findings import quoted_names, shortened
from pipelines.tables.label_maps import is_label

if TYPE_CHECKING:
    import polars as pl

TEXT_NAMES: Final = (
    "text", "review", "reviewtext", "reviewbody", "comment", "comments", "content", "body",
    "message", "sentence", "tweet", "feedback", "opinion", "verbatim", "document", "phrase",
    "utterance", "answer", "response", "description", "summary",
)  # fmt: skip
"""Usual names of a column of texts, folded; the earlier ones are likelier."""

LABEL_NAMES: Final = (
    "label", "sentiment", "polarity", "stars", "rating", "score", "class", "target",
    "airlinesentiment", "category", "overall", "labels", "ratings", "emotion", "verdict",
)  # fmt: skip
"""Usual names of a column of labels, folded."""
_RARE_LABEL_NAMES: Final = ("recommended", "isrecommended", "recommend", "liked")
"""Names that are values of labels as well."""

_LETTER: Final = r"\p{L}"
_TOKEN: Final = r"\S*\p{L}\S*\p{L}\S*"
_CODE: Final = r"\S*[\d_@/\\]\S*"
"""Numbers, SKUs, dates, addresses."""
_NO_SPACES: Final = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_ENOUGH_WORDS: Final = 1.5
"""Of a value on average, in a column that has no usual name."""
_MOST_LABELS: Final = 20
_FEW_VALUES: Final = 0.1
"""Share of distinct values up to which a column looks like one of categories."""


def folded(name: str) -> str:
    """A name without letter case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name).lower()


def unique_names(header: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names for columns, and what had to be changed for each to have one of its own.

    A column without a name gets its number; the second of a name gets it with `_2`.
    """
    names: list[str] = []
    taken = set(header)
    last: Counter[str] = Counter()
    twice: dict[str, list[int]] = {}
    for number, title in enumerate(header, start=1):
        name = title if title.strip() else _free(f"column_{number}", taken)
        twice.setdefault(name, []).append(number)
        if len(twice[name]) > 1:
            last[name] = max(1, last[name])
            while (fresh := f"{name}_{last[name] + 1}") in taken:
                last[name] += 1
            name = fresh
        taken.add(name)
        names.append(name)
    doubles = {name: numbers for name, numbers in twice.items() if len(numbers) > 1}
    notes = [
        f"{len(numbers):,} columns are called {shortened(name)!r} "
        f"({', '.join(map(str, numbers[:5]))}{', ...' * (len(numbers) > 5)}); "
        f"all but the first got another name, such as {shortened(name) + '_2'!r}"
        for name, numbers in list(doubles.items())[:3]
    ]
    if len(doubles) > 3:
        notes.append(f"{len(doubles) - 3:,} more names stand for several columns")
    return names, notes


def free_name(name: str, taken: Sequence[str]) -> str:
    """`name`, or with a number behind it, so that it is not among those `taken`."""
    return _free(name, set(taken))


def choose(wanted: str, columns: Sequence[str], header: Sequence[str], name: str) -> str:
    """The column that a user means, by its name or its number from 1.

    Raises
    ------
    DataError
        If there is none, or several have the name.
    """
    if list(header).count(wanted) > 1:
        numbers = [str(at) for at, title in enumerate(header, start=1) if title == wanted]
        raise DataError(
            f"{name}: {len(numbers):,} columns are called {shortened(wanted)!r}. Choose one by "
            f"its number: {', '.join(numbers[:10])}."
        )
    if wanted in columns:
        return wanted
    if wanted.isdecimal() and len(wanted) < 7 and 1 <= int(wanted) <= len(columns):
        return columns[int(wanted) - 1]
    raise DataError(
        f"{name} has no column {shortened(wanted)!r}{did_you_mean(wanted, columns)} "
        f"It has: {quoted_names(columns)}."
    )


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`.` or a question, to end a sentence about an unknown word."""
    by_fold = {name.strip().lower(): name for name in known[:1_000]}
    close = difflib.get_close_matches(word.strip().lower()[:100], by_fold, n=1)
    return f". Did you mean {by_fold[close[0]]!r}?" if close else "."


def find_text_column(sample: pl.DataFrame, name: str) -> str:
    """The column with the texts: one with a usual name, else the one with most words.

    Parameters
    ----------
    sample : pl.DataFrame
        The first rows.
    name : str
        What messages call the file.

    Raises
    ------
    DataError
        If no column holds words.
    """
    import polars as pl

    words = {
        column: _words(sample[column])
        for column in sample.columns
        if sample[column].dtype in (pl.String, pl.Categorical, pl.Enum)
    }
    usual = [c for c in words if _rank(c) is not None and _has_letters(sample[c])]
    if usual:
        return min(usual, key=lambda column: _rank(column) or 0)
    words = {c: found for c, found in words.items() if not _are_labels(sample[c])}
    wordy = {
        column: found * (0.2 if _few_values(sample[column]) else 1)
        for column, found in words.items()
        if found >= _ENOUGH_WORDS or (len(words) == 1 and found > 0)
    }
    if not wordy and sample.is_empty():
        raise DataError(f"{name} has no rows.")
    if not wordy:
        raise DataError(
            f"{name} has no column of words: {quoted_names(sample.columns)} hold numbers, codes "
            "or single words. Choose a column if one of them holds the texts."
        )
    return max(wordy, key=lambda column: wordy[column])


def is_text_name(name: str) -> bool:
    """Whether a column of that name usually holds texts: ``text``, ``review_body``."""
    return folded(name) in TEXT_NAMES or (" " not in name.strip() and _rank(name) is not None)


def find_label_column(columns: Sequence[str], name: str) -> str:
    """The column with the labels, by its name.

    Raises
    ------
    DataError
        If none has a usual name.
    """
    by_fold = {folded(column): column for column in reversed(columns)}
    for usual in (*LABEL_NAMES, *_RARE_LABEL_NAMES):
        if usual in by_fold:
            return by_fold[usual]
    for usual in LABEL_NAMES[:9]:
        for fold, column in by_fold.items():
            if fold.endswith(usual):  # star_rating, review_score
                return column
    raise DataError(
        f"{name}: no column is called like one of labels. Choose one: {quoted_names(columns)}."
    )


def _rank(column: str) -> int | None:
    """How usual a name is for a column of texts, 0 the most; None if it is not."""
    name = folded(column)
    if name in TEXT_NAMES:
        return TEXT_NAMES.index(name)
    inside = [at for at, usual in enumerate(TEXT_NAMES[:12]) if re.search(rf"{usual}s?$", name)]
    return len(TEXT_NAMES) + inside[0] if inside else None


def _words(values: pl.Series) -> float:
    """Words of a value that is not blank, on average; codes and numbers are none."""
    import polars as pl

    text = values.cast(pl.String).drop_nulls().str.slice(0, 2_000).str.replace_all(_CODE, " ")
    written = text.filter(values.cast(pl.String).drop_nulls().str.strip_chars() != "")
    if written.is_empty():
        return 0.0
    counts = written.str.count_matches(_TOKEN) + written.str.count_matches(_NO_SPACES)
    return float(counts.sum()) / written.len()


def _has_letters(values: pl.Series) -> bool:
    """Whether there are letters in a column, or nothing at all."""
    import polars as pl

    written = values.cast(pl.String).drop_nulls()
    return written.is_empty() or bool(written.str.contains(_LETTER).any())


def _are_labels(values: pl.Series) -> bool:
    """Whether all values that are not null are words for labels."""
    written = values.drop_nulls().unique()
    return 0 < written.len() <= _MOST_LABELS and all(map(is_label, written.to_list()))


def _few_values(values: pl.Series) -> bool:
    written = values.drop_nulls()
    return written.len() >= 20 and written.n_unique() <= _FEW_VALUES * written.len()


def _free(name: str, taken: set[str]) -> str:
    number, fresh = 1, name
    while fresh in taken:
        number += 1
        fresh = f"{name}_{number}"
    return fresh

"""The dialect of delimited text: separator, quotes, header.

Each candidate is tried on the beginning of the file with the scanner that will read it: the
separator is the one with which most records have as many fields as the first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from pipelines.tables.columns import LABEL_NAMES, TEXT_NAMES, folded
from pipelines.tables.label_maps import is_label
from pipelines.tables.options import Options
from pipelines.tables.records import (
    BAD_QUOTE,
    BLANK,
    JOINED,
    NO_SEPARATOR,
    NOTHING,
    UNCLOSED,
    Grammar,
    Records,
    scan,
)

SEPARATORS: Final = b",\t;|"
"""Candidates, the likelier first."""
_DOUBLE: Final = ord('"')
_SINGLE: Final = ord("'")
_BACKSLASH: Final = ord("\\")
_SAMPLE_RECORDS: Final = 1_000
_NOTHING_IN_IT: Final = re.compile(rb"[ ,;|\t]{0,1000}(\r{0,2}\n|\r)")
_EXCEL_HINT: Final = re.compile(rb'"?sep=(.)"?(\r{0,2}\n|\r)')
_NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d+)*|\.\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
_LINE: Final = re.compile(rb"[^\r\n]*(?:\r{0,2}\n|\r)")
_MOST_ABOVE: Final = 20
"""Lines of titles and comments above a header."""
_LONGEST_NAME: Final = 60
_NAME_WORDS: Final = 4
_BROKEN_QUOTES: Final = 3


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """The dialect of a file."""

    grammar: Grammar
    header: bool
    """Whether the first record names the columns."""
    skipped: bytes = b""
    """Bytes before the first record: blank lines, Excel's `sep=;`, titles and comments."""
    above: int = 0
    """Lines of titles and comments among them."""
    line_end: str = "\n"
    literal_quotes: bool = False
    """Whether quotes were found to be text."""

    @property
    def separator(self) -> str:
        """The separator, empty if a line is one field."""
        separator = self.grammar.separator
        return "" if separator == NO_SEPARATOR else chr(separator)


class _Trial(NamedTuple):
    """The fit of a grammar."""

    grammar: Grammar
    records: Records
    fit: float
    """Share of the records that have as many fields as the first; 0 if that has only one."""
    broken: int


def find_dialect(sample: bytes, options: Options, *, final: bool, lines: bool = False) -> Dialect:
    """The dialect of a file by its beginning.

    Parameters
    ----------
    sample : bytes
        UTF-8, with at least one whole record.
    options : Options
        What the user says about separator and header.
    final : bool
        Whether the sample is the whole file.
    lines : bool
        Whether the file is one of plain lines, unless it surely is not.
    """
    skipped, above = _before_records(sample), 0
    if not lines and options.header is None:
        above, end = _above_header(sample, len(skipped))
        skipped = sample[:end]
    start = len(skipped)
    chosen = options.separator_byte()
    if chosen is None and (hint := _EXCEL_HINT.search(skipped)):
        chosen = hint[1][0]
    grammar = _find_grammar(sample, start, chosen, final=final, lines=lines)
    rows = sample_fields(sample, grammar, start, final=final)
    plain = grammar.quote == NOTHING and grammar.separator == NO_SEPARATOR
    header = options.header
    if header is None:
        header = _is_usual(rows[0]) if plain else has_header(rows)
    first_end = re.search(rb"\r?\n|\r(?!\r\n)", sample[start:])
    return Dialect(
        grammar=grammar,
        header=header,
        skipped=skipped,
        above=above,
        line_end=first_end[0].decode() if first_end else "\n",
        literal_quotes=grammar.quote == NOTHING and grammar.separator != NO_SEPARATOR,
    )


def sample_fields(
    sample: bytes, grammar: Grammar, start: int, *, final: bool = True
) -> list[list[str]]:
    """The fields of the first records that are neither blank nor broken, at least one."""
    from pipelines.tables.records import column

    first = scan(sample, grammar, start=start, capacity=_SAMPLE_RECORDS, final=final)
    whole = first.statuses < BAD_QUOTE
    width = min(int(first.widths[whole].max(initial=1)), _SAMPLE_RECORDS)
    found = scan(
        sample,
        grammar,
        start=start,
        width=width,
        slots=np.arange(width, dtype=np.int32),
        capacity=max(2, min(_SAMPLE_RECORDS, _SAMPLE_RECORDS * 50 // width)),
        final=final,
    )
    keep = np.flatnonzero((found.statuses < BAD_QUOTE) & (found.statuses != BLANK))
    fields = [column(sample, found, slot, keep, grammar).to_list() for slot in range(width)]
    widths = found.widths[keep].tolist()
    rows = [
        [value or "" for value in row[:size]]
        for row, size in zip(zip(*fields, strict=True), widths, strict=True)
    ]
    return rows or [[""]]


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns.

    It does if one of its fields is a usual name, or stands above numbers, or if they count from 0
    as pandas' do. It does not if one of them is a number, a sentence, or a value that its column
    has again, nor if there is one column only and several words. Without a sign, it does.
    """
    first, rest = rows[0], rows[1:]
    counted = first[1:] if not first[0].strip() else first
    if _is_usual(first) or (
        len(counted) > 1 and list(counted) == list(map(str, range(len(counted))))
    ):
        return True
    if len(first) == 1 and " " in first[0].strip() and not _is_question(first[0]):
        return False
    # "5 stars", not "positive", which may stand above a column of counts.
    if any(
        _NUMBER.fullmatch(f.strip()) or (is_label(f) and not f.strip().isalpha()) for f in first
    ):
        return False
    below = [[row[at].strip() for row in rest if at < len(row)] for at in range(len(first))]
    if any(
        field.strip() and _are_numbers(values) for field, values in zip(first, below, strict=True)
    ):
        return True
    repeated = sum(list(row) == list(first) for row in rest)  # the header, as a whole
    return not any(
        "\n" in field or _is_value(field.strip()) or values.count(field.strip()) > repeated
        for field, values in zip(first, below, strict=True)
        if field.strip()
    )


def _is_usual(row: Sequence[str]) -> bool:
    """Whether one of the fields is a usual name of a column, and none is a long text."""
    names = {folded(field) for field in row if len(field) <= _LONGEST_NAME}
    usual = not names.isdisjoint(TEXT_NAMES) or not names.isdisjoint(LABEL_NAMES)
    # Names may stand on several lines.
    fields = [" ".join(field.split()) for field in row]
    return usual and not any(_NUMBER.fullmatch(field) or _is_value(field) for field in fields)


def _are_numbers(values: Sequence[str]) -> bool:
    """Whether most values that are not blank begin with a digit: numbers, prices, dates."""
    written = [value for value in values if value]
    numbers = sum(bool(re.match(r"[+-]?[$€£]? ?\d", value)) for value in written)
    return bool(written) and numbers >= 0.9 * len(written)


def _is_value(field: str) -> bool:
    """Whether a field is a sentence or the value of a label, which no column is called."""
    if _is_question(field):
        return False
    words = len(field.split())
    return (
        is_label(field)
        or len(field) > _LONGEST_NAME
        or words > _NAME_WORDS
        or (words > 1 and field[-1] in ".!")
    )


def _is_question(field: str) -> bool:
    """Whether a field is the question of a survey."""
    return field.rstrip().endswith(("?", ":"))


def _above_header(sample: bytes, start: int) -> tuple[int, int]:
    """The number of lines of titles and comments above a header, and where the header begins.

    Such a line has one field only, or begins with ``#``; the header has several, with a usual name
    among them.
    """
    at, titles = start, dict.fromkeys(map(chr, SEPARATORS), True)
    for number in range(_MOST_ABOVE):
        if not (line := _LINE.match(sample, at)):
            break
        text = line[0].decode("utf-8", "replace").strip()
        for separator, only_titles in titles.items():
            fields = [field.strip(' "') for field in text.split(separator)]
            if only_titles and len(fields) > 1 and _is_usual(fields):
                return number, at
            written = sum(map(bool, fields))
            titles[separator] = only_titles and (written < 2 or text.startswith("#"))
        if text.count('"') % 2:  # A field goes on in the next line.
            break
        at = line.end()
    return 0, start


def _before_records(sample: bytes) -> bytes:
    """Blank lines and lines of separators only, and Excel's hint, at the beginning."""
    end = 0
    if hint := _EXCEL_HINT.match(sample):
        end = hint.end()
    while match := _NOTHING_IN_IT.match(sample, end):
        end = match.end()
    return sample[:end]


def _find_grammar(
    sample: bytes, start: int, chosen: int | None, *, final: bool, lines: bool
) -> Grammar:
    candidates = [chosen] if chosen is not None else list(SEPARATORS)
    trials = [_try(sample, start, Grammar(s, _DOUBLE, NOTHING), final) for s in candidates]
    best = max(trials, key=lambda trial: trial.fit)  # the first of equal ones
    if lines and chosen is None and not _surely_columns(best, sample, start):
        return Grammar(NO_SEPARATOR, NOTHING, NOTHING)
    separator = best.grammar.separator
    if chosen is None and best.fit == 0:
        separator = NO_SEPARATOR
        best = _try(sample, start, Grammar(separator, _DOUBLE, NOTHING), final)
    return _find_quotes(sample, start, best, final)


def _surely_columns(trial: _Trial, sample: bytes, start: int) -> bool:
    """Whether a file that should hold plain lines has columns nevertheless."""
    if trial.fit < 1 or len(trial.records.statuses) < 2:
        return False
    if trial.grammar.separator != ord(","):
        return True
    return _is_usual(sample_fields(sample, trial.grammar, start)[0])


def _find_quotes(sample: bytes, start: int, plain: _Trial, final: bool) -> Grammar:
    """The grammar with the separator of `plain` whose quotes fit best."""
    separator = plain.grammar.separator
    if not plain.records.quoted and not plain.broken:
        single = _try(sample, start, Grammar(separator, _SINGLE, NOTHING), final)
        enough = single.records.quoted * 2 >= len(single.records.statuses)
        if enough and not single.broken and single.fit >= plain.fit:
            return single.grammar
    if not plain.broken:
        return plain.grammar
    escaped = _try(sample, start, Grammar(separator, _DOUBLE, _BACKSLASH), final)
    if escaped.broken < plain.broken and escaped.fit >= plain.fit:
        return escaped.grammar
    literal = _try(sample, start, Grammar(separator, NOTHING, NOTHING), final)
    convention = plain.broken >= _BROKEN_QUOTES and plain.broken > plain.records.quoted
    fits = literal.fit == 1 or separator == NO_SEPARATOR
    if fits and convention:
        return literal.grammar
    return plain.grammar


def _try(sample: bytes, start: int, grammar: Grammar, final: bool) -> _Trial:
    records = scan(sample, grammar, start=start, capacity=_SAMPLE_RECORDS, final=final)
    broken = np.isin(records.statuses, (BAD_QUOTE, UNCLOSED, JOINED))
    widths = records.widths[(records.statuses != BLANK) & ~broken]
    count = len(widths) + int(broken.sum())
    first = int(widths[0]) if len(widths) else 1
    fit = float((widths == first).sum() / count) if first > 1 else 0.0
    return _Trial(grammar, records, fit, int(broken.sum()))

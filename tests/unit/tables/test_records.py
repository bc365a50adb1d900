"""The scanner finds the records that the `csv` module finds, wherever blocks end."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables import records
from pipelines.tables.records import NO_SEPARATOR, NOTHING, Grammar, scan

COMMA = Grammar(ord(","), ord('"'), NOTHING)
_FIELD = st.text(alphabet='ab ,;"\n\r\té€\0', max_size=6)


def fields(content: bytes, grammar: Grammar, width: int, block: int | None = None) -> list[object]:
    """All records with their lines and statuses, read in blocks of `block` bytes."""
    slots = np.arange(width, dtype=np.int32)
    found: list[object] = []
    rest, line, broken, position = b"", 1, 0, 0
    size = block or len(content) or 1
    while True:
        more = content[position : position + size]
        position += len(more)
        rest += more
        scanned = scan(rest, grammar, width=width, slots=slots, final=not more, after_broken=broken)
        keep = np.arange(len(scanned.statuses))
        columns = [records.column(rest, scanned, slot, keep, grammar) for slot in range(width)]
        found += zip(
            scanned.statuses.tolist(),
            (line + scanned.lines).tolist(),
            *(column.to_list() for column in columns),
            strict=True,
        )
        rest, line, broken = rest[scanned.position :], line + scanned.line, scanned.after_broken
        if not more:
            return found


@given(st.lists(st.lists(_FIELD, min_size=3, max_size=3), min_size=1, max_size=6), st.booleans())
def test_well_formed_text_is_read_as_csv_reads_it(rows: list[list[str]], crlf: bool) -> None:
    target = io.StringIO(newline="")
    end = "\r\n" if crlf else "\n"
    csv.writer(target, quoting=csv.QUOTE_ALL, lineterminator=end).writerows(rows)
    content = target.getvalue().encode()

    found = fields(content, COMMA, 3)

    assert [list(record[2:]) for record in found] == [[f or None for f in row] for row in rows]  # type: ignore[index]
    assert {record[0] for record in found} == {records.OK}  # type: ignore[index]


@given(st.text(alphabet='ab ,"\n\r\\', max_size=40), st.integers(1, 5), st.booleans())
def test_blocks_do_not_matter(text: str, block: int, escaped: bool) -> None:
    content = text.encode()
    grammar = Grammar(ord(","), ord('"'), ord("\\") if escaped else NOTHING)

    assert fields(content, grammar, 2, block) == fields(content, grammar, 2)


@given(st.text(alphabet='ab ,"\n\r', max_size=40))
def test_no_line_is_lost(text: str) -> None:
    found = fields(text.encode(), COMMA, 2)

    lines = [record[1] for record in found]  # type: ignore[index]
    assert lines == sorted(set(lines))
    assert (not text) or lines[0] == 1


@pytest.mark.parametrize(
    ("content", "statuses"),
    [
        (b"a,b\n\nc,d\n", [records.OK, records.BLANK, records.OK]),
        (b"a\nb,c,d\ne,f,\n", [records.SHORT, records.LONG, records.OK]),
        (b'a,"b\n', [records.UNCLOSED]),
        (b'a,"b" c\nd,e\n', [records.BAD_QUOTE, records.OK]),
        (b'a,"b" c\nd\ne,f\n', [records.BAD_QUOTE, records.REMNANT, records.OK]),
        (b'a,"b\n' + b"c,d\n" * 6 + b'e"\n', [records.JOINED, *[records.OK] * 6, records.SHORT]),
        (b'a,"b\n' + b"c,\n" * 6 + b'e"\n', [records.OK]),
    ],
)
def test_statuses(content: bytes, statuses: list[int]) -> None:
    assert [record[0] for record in fields(content, COMMA, 2)] == statuses  # type: ignore[index]


def test_lines_are_whole_without_a_separator() -> None:
    found = fields(b'a, "b\nc\n', Grammar(NO_SEPARATOR, NOTHING, NOTHING), 1)

    assert found == [(records.OK, 1, 'a, "b'), (records.OK, 2, "c")]

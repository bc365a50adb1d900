"""What a file may cost, whatever is in it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest

from pipelines.errors import DataError
from pipelines.tables.options import Limits
from pipelines.tables.reading import open_table
from tests.unit.tables.archives import workbook

PEAK = """
import resource, sys
from pipelines.errors import DataError
from pipelines.tables.options import Limits
from pipelines.tables.reading import open_table

LIMITS = Limits(columns=1_000, record=10_000_000, unpacked=20_000_000)

def read(content):
    try:
        table = open_table(content, "a.csv", limits=LIMITS)
        for batch in table.batches():
            pass
    except DataError as error:
        assert len(str(error)) < 1_000

read(b"text,label\\na,b\\n")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for content in sys.argv[1:]:
    read(eval(content))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
LARGE = [
    'b"," * 99_999 + b"\\n" + b"x\\n" * 1_000',
    'b"text" + b"," * 99_999 + b"\\n" + b"x\\n" * 1_000',
    'b"text" + b"," * 999 + b"\\n" + b"x\\n" * 2_000',
    '__import__("gzip").compress(bytes(100_000_000), 1)',
    '__import__("gzip").compress(b"text,label\\n" + b"\\n" * 30_000_000, 1)',
    'b"text\\n" + b\'"\' * 1_000_001',
    'b"[" * 200_000',
    "b'{\"a\":' * 1_000_000",
]
"""Names of columns, blank lines, quotes and brackets without end."""


def test_memory_is_bounded() -> None:
    """In a process of its own, whose peak never falls."""
    # What the content itself takes is in the peak too.
    command = [sys.executable, "-c", PEAK, *LARGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2_000:]
    peaks = dict(zip(LARGE, map(int, done.stdout.split()), strict=True))
    assert max(peaks.values()) < 300, peaks


def test_a_row_has_a_limit() -> None:
    limits = Limits(record=1_000, batch=100)

    for name, content in (
        ("a.csv", b"text,label\ngood,1\n" + b"x" * 5_000),
        ("a.txt", b"good\n" + b"x" * 5_000),
        ("a.jsonl", b'{"text": "good"}\n{"text": "' + b"x" * 5_000 + b'"}\n'),
        ("a.json", b'[{"text": "good"},\n{"text": "' + b"x" * 5_000 + b'"}]\n'),
    ):
        with pytest.raises(DataError, match=r"row in line [123] has more than 1,000 bytes"):
            list(open_table(content, name, limits=limits).batches())


def test_a_quote_that_is_never_closed_costs_its_row() -> None:
    rows = b"".join(b"%d,plain row\n" % number for number in range(2_000))
    table = open_table(b'id,text\n1,"never\n' + rows, "a.csv", limits=Limits(record=500, batch=100))

    assert sum(batch.frame.height for batch in table.batches()) == 2_000
    assert table.findings.messages() == ["1 row left out: a quote is never closed (line 2)"]


def test_a_file_has_a_limit_once_it_is_unpacked() -> None:
    packed = gzip.compress(b"text\n" + b"so good\n" * 100_000)

    with pytest.raises(DataError, match="more than 100,000 bytes once it is unpacked"):
        list(open_table(packed, "a.csv", limits=Limits(unpacked=100_000)).batches())


def test_shared_strings_of_a_workbook_have_a_limit() -> None:
    """calamine copies a shared string into every cell."""
    long = "so good " * 4_000
    book = workbook(*[(long, long, long)] * 200, shared=long)

    with pytest.raises(DataError, match="too much"):
        open_table(book, "a.xlsx", limits=Limits(cells=10_000))
    assert open_table(book, "a.xlsx").sample.height == 200


def test_many_columns_come_in_small_batches() -> None:
    header = ",".join(["text", *(f"c{number}" for number in range(99))])
    content = (header + "\n" + "good\n" * 1_000).encode()
    table = open_table(content, "a.csv", limits=Limits(batch_cells=5_000))

    heights = [batch.frame.height for batch in table.batches()]

    assert sum(heights) == 1_000
    assert max(heights) == 50


@pytest.mark.parametrize("rows", [1, 50])
def test_messages_are_bounded(rows: int) -> None:
    names = [f"{'name' * 100} {number}" for number in range(900)]
    content = ("\n".join([",".join(names)] + [",".join("1" * 900)] * rows)).encode()
    table = open_table(content, "a.csv")

    assert len(table.describe()) < 1_000
    for wanted in ("text", "x" * 50_000):
        with pytest.raises(DataError) as error:
            table.text_column(wanted)
        assert len(str(error.value)) < 1_000
    with pytest.raises(DataError) as error:
        table.text_column()
    assert len(str(error.value)) < 1_000


def test_deep_json_is_one_broken_row() -> None:
    deep = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    table = open_table(
        b'{"text": "so good"}\n' + deep + json.dumps({"text": "b"}).encode(), "a.jsonl"
    )

    assert [t for b in table.batches(["text"]) for t in b.frame["text"]] == ["so good", "b"]
    assert table.findings.lost == 1

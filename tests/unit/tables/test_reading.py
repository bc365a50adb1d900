"""Every file of the folder is read to its rows, or refused, whatever it is read from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.tables.containers import Content
from pipelines.tables.options import Limits
from pipelines.tables.reading import open_table
from pipelines.tables.table import Batch, Table
from tests.unit.tables.cases import Case, cases, write_cases

SMALL = Limits(batch=64)
"""Blocks that end in the middle of everything."""


def read(content: Content, case: Case, limits: Limits | None = None) -> str:
    """Check the rows of a file; returns what is said about it, or why it is refused."""
    if case.refused:
        with pytest.raises(DataError, match=re.escape(case.refused)) as refusal:
            _rows(content, case, limits)
        return str(refusal.value)
    table, batches, column = _rows(content, case, limits)
    assert tuple(t for b in batches for t in b.frame[column].to_list()) == case.texts
    assert tuple(row.line for b in batches for row in b.left_out) == case.lost
    numbers = [n for b in batches for n in (*b.rows.to_list(), *(row.row for row in b.left_out))]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert table.findings.rows == len(numbers)
    return " ".join([table.describe(), *table.messages()])


def _rows(content: Content, case: Case, limits: Limits | None) -> tuple[Table, list[Batch], str]:
    table = open_table(content, case.name, limits=limits)
    column = table.text_column()
    return table, list(table.batches([column])), column


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
class TestEveryFile:
    def test_received_bytes(self, case: Case) -> None:
        said = read(case.content, case)

        assert case.said in said
        assert len(said) < 1_500

    def test_a_path(self, case: Case, tmp_path: Path) -> None:
        path = tmp_path / case.name
        path.write_bytes(case.content)

        assert read(path, case) == read(case.content, case)

    def test_small_blocks(self, case: Case) -> None:
        if len(case.content) < 100_000:
            read(case.content, case, SMALL)


def test_the_folder_is_large_and_its_names_differ(tmp_path: Path) -> None:
    names = [case.name for case in cases()]

    assert len(names) >= 80
    assert len(set(names)) == len(names)
    write_cases(tmp_path)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(names)

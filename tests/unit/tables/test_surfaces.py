"""The commands and the page read a file to the same rows, or refuse it in the same words."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from litestar.exceptions import HTTPException

from opinionlens_server.scoring.uploads import Choice, read_upload
from pipelines.config.params import Dataset
from pipelines.config.settings import Serving
from pipelines.datasets.reading import read_batches
from pipelines.datasets.sources import Source
from pipelines.errors import DataError, InputError
from pipelines.tables.labelled import LabelledTable
from pipelines.tables.reading import open_table
from tests.unit.tables.cases import TEXTS, Case, cases

LIMITS = Serving(max_text_length=10_000_000)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
class TestEverySurface:
    def test_the_page(self, case: Case) -> None:
        if case.refused or not case.texts:
            with pytest.raises((InputError, HTTPException), match=case.refused or "no row"):
                read_upload(case.name, case.content, Choice(), LIMITS, whole=True)
            return

        found = read_upload(case.name, case.content, Choice(), LIMITS, whole=True)

        assert found.texts == [text or "" for text in case.texts]
        assert case.said in " ".join(found.notes)

    def test_a_declared_data_set(self, case: Case, tmp_path: Path) -> None:
        path = tmp_path / case.name
        path.write_bytes(case.content)
        if case.refused == "no column of words":
            return  # whoever names a column may name one of numbers
        if case.refused:
            with pytest.raises(DataError):
                rows_of(path, "text")
            return
        table = open_table(path)
        text = str(table.columns.index(table.text_column()) + 1)

        assert tuple(rows_of(path, text)) == case.texts


@pytest.mark.parametrize(
    "case", [case for case in cases() if case.refused or case.texts == TEXTS], ids=lambda c: c.name
)
def test_evaluation(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.name
    path.write_bytes(case.content)
    if case.refused:
        with pytest.raises(DataError):
            LabelledTable(open_table(path))
        return
    table = open_table(path)
    if "label" not in table.columns:
        with pytest.raises(DataError, match="no column is called like one of labels"):
            LabelledTable(table)
        return

    rows = pl.concat(LabelledTable(table).batches())

    found = rows.select("text", "label").rows()
    assert found == [(TEXTS[0], 1), (TEXTS[1], 0), (TEXTS[2], 1)]


def rows_of(path: Path, text: str) -> list[str | None]:
    declaration = Dataset(path="", text=text, label="1", labels={})
    batches = read_batches(Source(path, declaration, "mine"))
    return [text for rows in batches for text in rows["text"]]

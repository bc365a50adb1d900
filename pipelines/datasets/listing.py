"""The work of `olens data list`: which data sets are declared, and which are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipelines.datasets.labels import NEGATIVE, POSITIVE
from pipelines.datasets.reading import read_batches
from pipelines.datasets.reports import DatasetReport, Origin, read_report
from pipelines.datasets.sources import Source, find_source
from pipelines.errors import DataError

if TYPE_CHECKING:
    from pipelines.params import Params
    from pipelines.settings import Settings


class ListedDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A declared data set and what there is of it."""

    name: str
    path: str
    present: bool
    rows: int | None = None
    """Rows of the raw file; None if it is not there or cannot be read."""
    negative: int | None = None
    positive: int | None = None
    problem: str | None = None
    """Why the file cannot be read."""
    prepared: Origin | None = None
    """What the prepared texts were made from; None if there are none."""


def list_datasets(settings: Settings, params: Params) -> list[ListedDataset]:
    """The data sets of ``conf/params.yaml`` in its order; reads those that are there once."""
    listed = []
    for name in params.datasets:
        source = find_source(settings, params, name)
        report = read_report(settings.paths.prepared / name, DatasetReport)
        entry = ListedDataset(
            name=name,
            path=str(source.path),
            present=source.path.is_file(),
            prepared=report.origin if report else None,
        )
        listed.append(_counted(entry, source) if entry.present else entry)
    return listed


def _counted(entry: ListedDataset, source: Source) -> ListedDataset:
    rows = negative = positive = 0
    try:
        for batch in read_batches(source):
            rows += batch.height
            negative += int((batch["label"] == NEGATIVE).sum())
            positive += int((batch["label"] == POSITIVE).sum())
    except DataError as error:
        return msgspec.structs.replace(entry, problem=str(error))
    return msgspec.structs.replace(entry, rows=rows, negative=negative, positive=positive)

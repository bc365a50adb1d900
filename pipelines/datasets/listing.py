"""The work of `olens data list`: which data sets are declared, and which are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipelines.datasets.reading import read_batches
from pipelines.datasets.reports import DatasetReport, Origin, class_counts, read_report
from pipelines.datasets.sources import Source, find_source
from pipelines.errors import DataError

if TYPE_CHECKING:
    from pipelines.config.params import Params
    from pipelines.config.settings import Settings


class ListedDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A declared data set and what there is of it."""

    name: str
    path: str
    present: bool
    rows: int | None = None
    """Rows of the raw file; None if it is not there or cannot be read."""
    negative: int | None = None
    positive: int | None = None
    classes: dict[str, int] = {}
    """Rows by class; the two above are among them if there are such classes."""
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
    rows = 0
    names = source.declaration.classes
    classes = dict.fromkeys(names, 0)
    try:
        for batch in read_batches(source):
            rows += batch.height
            for name, count in class_counts(batch, names).items():
                classes[name] += count
    except DataError as error:
        return msgspec.structs.replace(entry, problem=str(error))
    return msgspec.structs.replace(
        entry,
        rows=rows,
        negative=classes.get("negative"),
        positive=classes.get("positive"),
        classes=classes,
    )

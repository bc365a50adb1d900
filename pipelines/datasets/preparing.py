"""The work of `olens preprocess`: a raw file -> train, validation and test texts, and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.datasets.cleaning import Progress, Tally, clean
from pipelines.datasets.reports import (
    ClassCounts,
    DatasetReport,
    SliceReport,
    class_counts,
    fingerprint,
    write_report,
)
from pipelines.datasets.slicing import RESERVED, prepare_slices
from pipelines.datasets.sources import Source, check_file, check_names, find_source
from pipelines.datasets.splitting import SPLITS, assign_splits
from pipelines.datasets.writing import replaced_folder
from pipelines.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from pipelines.params import Params
    from pipelines.settings import Settings

_ROW_GROUP: Final = 2048


class Preprocessed(msgspec.Struct, frozen=True):
    """What `preprocess` did."""

    datasets: list[DatasetReport]
    slices: SliceReport | None
    """None if the slices were not asked for."""


def preprocess(
    settings: Settings,
    params: Params,
    names: Sequence[str] = (),
    *,
    sample: bool = False,
    on_progress: Callable[[str, int], None] | None = None,
) -> Preprocessed:
    """Prepare the data sets `names`, or all declared ones and then the slices.

    Parameters
    ----------
    settings : Settings
    params : Params
    names : sequence of str, optional
        The slices are left alone if any are given; `prepare_slices` makes them.
    sample : bool
        Read the files below ``paths.sample`` instead of ``paths.raw``.
    on_progress : callable, optional
        Called with the data set's name and the number of rows read since the last call.

    Raises
    ------
    DataError
        If a file is missing (before any work) or not as declared. The data set concerned, and
        those after it, remain as they were.
    StorageError
        If the result cannot be written.
    """
    check_names(params, names)
    chosen = list(names or params.datasets)
    for name in chosen:
        check_file(find_source(settings, params, name, sample=sample))

    reports = [
        prepare_dataset(
            settings,
            params,
            name,
            sample=sample,
            on_progress=partial(on_progress, name) if on_progress else None,
        )
        for name in chosen
    ]
    return Preprocessed(reports, None if names else prepare_slices(settings, params))


def prepare_dataset(
    settings: Settings,
    params: Params,
    name: str,
    *,
    sample: bool = False,
    on_progress: Progress | None = None,
) -> DatasetReport:
    """Clean and split one data set and write it to ``paths.prepared / name``.

    The files' bytes depend on the raw texts and labels, the declaration, the seed and the shares,
    not on the order of the rows.

    Raises
    ------
    DataError, StorageError
        As `preprocess`.
    """
    if name in RESERVED:
        raise DataError(
            f"datasets.{name} in conf/params.yaml: this name is that of a slice. Choose another."
        )
    source = find_source(settings, params, name, sample=sample)
    check_file(source)
    with ThreadPoolExecutor(1) as beside:
        fingerprinted = beside.submit(fingerprint, source.path)
        texts, tally, unknown = clean(source, on_progress)
    size, sha256 = fingerprinted.result()
    unknown.check(source)
    check_usable(source, texts, tally)
    split = texts.with_columns(assign_splits(texts["digest"], params.seed, params.split))
    counts: dict[str, ClassCounts] = {part: class_counts(_part(split, part)) for part in SPLITS}
    report = DatasetReport(
        dataset=name,
        origin="sample" if sample else "raw",
        path=source.declaration.path,
        size=size,
        sha256=sha256,
        declaration=source.declaration,
        seed=params.seed,
        shares=params.split,
        rows=tally.rows,
        dropped=tally.dropped,
        conflicting=tally.conflicting,
        kept=tally.kept,
        splits=counts,
        warnings=_warnings(name, counts),
    )
    with replaced_folder(settings.paths.prepared / name) as folder:
        for part in SPLITS:
            # The fastest level makes texts a seventh larger. Row groups are encoded in parallel.
            _part(split, part).write_parquet(
                folder / f"{part}.parquet", compression_level=1, row_group_size=_ROW_GROUP
            )
        write_report(folder, report)
    return report


def check_usable(source: Source, texts: pl.DataFrame, tally: Tally) -> None:
    """Raise a `DataError` unless `texts` holds both classes."""
    if tally.rows == 0:
        raise DataError(f"{source.path} has no rows below its header")
    if texts.is_empty():
        reasons = ", ".join(
            f"{count:,} {reason.replace('_', ' ')}"
            for reason, count in tally.dropped.items()
            if count
        )
        raise DataError(f"{source.path}: none of its {tally.rows:,} rows can be used ({reasons})")
    absent = [name for name, count in class_counts(texts).items() if count == 0]
    if absent:
        raise DataError(
            f"{source.path} has no {absent[0]} texts among the {texts.height:,} that can be used; "
            f"a model needs both classes. Check the labels of {source.where}."
        )


def _part(texts: pl.DataFrame, split: str) -> pl.DataFrame:
    import polars as pl

    return texts.filter(pl.col("split") == split).select("text", "label", "digest")


def _warnings(name: str, counts: dict[str, ClassCounts]) -> list[str]:
    return [
        f"{name}: the {split} split has no {label} texts; the data set is too small for its shares"
        for split, by_class in counts.items()
        for label, count in by_class.items()
        if count == 0
    ]

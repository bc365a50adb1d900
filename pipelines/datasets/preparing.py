"""The work of `olens preprocess`: a raw file -> train, validation and test texts, and a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.datasets.cleaning import Progress, Tally, clean_parts
from pipelines.datasets.reading import open_source
from pipelines.datasets.reports import (
    ClassCounts,
    DatasetReport,
    SliceReport,
    class_counts,
    write_report,
)
from pipelines.datasets.slicing import RESERVED, prepare_slices
from pipelines.datasets.sources import Source, check_file, check_names, find_source
from pipelines.datasets.spilling import Spill
from pipelines.datasets.splitting import SPLITS, assign_splits
from pipelines.errors import DataError
from pipelines.files import fingerprint, replaced_folder

if TYPE_CHECKING:
    import polars as pl

    from pipelines.config.params import Params
    from pipelines.config.settings import Settings

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
    table = open_source(source)
    memory = settings.training.memory_bytes
    with (
        replaced_folder(settings.paths.prepared / name) as folder,
        TemporaryDirectory(dir=folder) as spilled,
    ):
        with ThreadPoolExecutor(1) as beside:
            fingerprinted = beside.submit(fingerprint, source.path)
            held = Spill(Path(spilled), memory)
            parts, tally, unknown = clean_parts(source, held, on_progress, table)
        size, sha256 = fingerprinted.result()
        unknown.check(source, table.unit)
        counts = _write_splits(parts, folder, source.declaration.classes, params)
        check_usable(source, _added(counts.values()), tally)
        report = DatasetReport(
            dataset=name,
            origin="sample" if sample else "raw",
            path=source.declaration.path,
            found=table.describe(),
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
            warnings=[f"{name}: {m}" for m in table.messages()] + _warnings(name, counts),
        )
        write_report(folder, report)
    return report


def check_usable(source: Source, counts: ClassCounts, tally: Tally) -> None:
    """Raise a `DataError` unless the texts that are kept have all classes that are declared."""
    if tally.rows == 0:
        raise DataError(f"{source.path} has no rows below its header")
    kept = sum(counts.values())
    if not kept:
        reasons = ", ".join(
            f"{count:,} {reason.replace('_', ' ')}"
            for reason, count in tally.dropped.items()
            if count
        )
        raise DataError(f"{source.path}: none of its {tally.rows:,} rows can be used ({reasons})")
    absent = [name for name, count in counts.items() if count == 0]
    if absent:
        needed = "both classes" if len(counts) == 2 else f"all {len(counts)} classes"
        raise DataError(
            f"{source.path} has no {absent[0]} texts among the {kept:,} that can be used; "
            f"a model needs {needed}. Check the labels of {source.where}."
        )


def _write_splits(
    parts: Iterable[pl.DataFrame], folder: Path, classes: Sequence[str], params: Params
) -> dict[str, ClassCounts]:
    """Write a file for each split; returns the number of its texts of each class."""
    import polars as pl

    counts: dict[str, ClassCounts] = {split: dict.fromkeys(classes, 0) for split in SPLITS}
    with TemporaryDirectory(dir=folder) as temporary:
        pieces = Path(temporary)
        for number, texts in enumerate(parts):
            assigned = texts.with_columns(assign_splits(texts["digest"], params.seed, params.split))
            for split in SPLITS:
                rows = assigned.filter(pl.col("split") == split).select("text", "label", "digest")
                counts[split] = _added([counts[split], class_counts(rows, classes)])
                # The fastest level makes texts a seventh larger.
                rows.write_parquet(
                    pieces / f"{split}-{number:06}.parquet",
                    compression_level=1,
                    row_group_size=_ROW_GROUP,
                )
        for split in SPLITS:
            files = sorted(pieces.glob(f"{split}-*.parquet"))
            if len(files) == 1:
                files[0].rename(folder / f"{split}.parquet")
            else:
                pl.scan_parquet(files).sink_parquet(
                    folder / f"{split}.parquet", compression_level=1, row_group_size=_ROW_GROUP
                )
    return counts


def _added(counts: Iterable[ClassCounts]) -> ClassCounts:
    total: ClassCounts = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _warnings(name: str, counts: dict[str, ClassCounts]) -> list[str]:
    return [
        f"{name}: the {split} split has no {label} texts; the data set is too small for its shares"
        for split, by_class in counts.items()
        for label, count in by_class.items()
        if count == 0
    ]

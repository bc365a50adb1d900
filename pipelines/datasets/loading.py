"""Prepared texts for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.datasets.labels import canonical_label
from pipelines.datasets.reports import (
    DatasetReport,
    SliceReport,
    class_counts,
    fingerprint,
    read_report,
)
from pipelines.datasets.sources import check_names, find_source
from pipelines.datasets.splitting import SplitName
from pipelines.errors import DataError
from pipelines.params import Dataset

if TYPE_CHECKING:
    import polars as pl

    from pipelines.params import Params
    from pipelines.settings import Settings


def load_split(
    settings: Settings, params: Params, split: SplitName, datasets: Sequence[str] | None = None
) -> pl.DataFrame:
    """One split of the prepared data sets, one below the other.

    Parameters
    ----------
    settings : Settings
    params : Params
    split : "train", "val" or "test"
    datasets : sequence of str, optional
        Names; all declared data sets by default.

    Returns
    -------
    pl.DataFrame
        ``text`` (String), ``label`` (Int8, 0 negative, 1 positive), ``dataset`` (String).

    Raises
    ------
    DataError
        If one of them is not declared or not prepared, or together they lack a class.
    """
    import polars as pl

    names = list(params.datasets if datasets is None else datasets)
    check_names(params, names)
    parts = [
        _read(settings.paths.prepared / name / f"{split}.parquet", f"olens preprocess {name}")
        .select("text", "label")
        .with_columns(pl.lit(name).alias("dataset"))
        for name in names
    ]
    texts = pl.concat(parts)
    if absent := [name for name, count in class_counts(texts).items() if count == 0]:
        raise DataError(
            f"The {split} split of {', '.join(names)} has no {absent[0]} texts. Add data, or "
            "change split or seed in conf/params.yaml, and run: olens preprocess"
        )
    return texts


def load_slices(settings: Settings) -> dict[str, pl.DataFrame]:
    """The slices of the test splits by name; the columns are those of `load_split`.

    Raises
    ------
    DataError
        If there are none.
    """
    files = sorted(settings.paths.slices.glob("*.parquet"))
    if not files:
        raise DataError(f"{settings.paths.slices}: there are no slices. Run: olens preprocess")
    return {file.stem: _read(file, "olens preprocess --slices") for file in files}


def load_report(settings: Settings, name: str) -> DatasetReport:
    """How the data set `name` was prepared.

    Raises
    ------
    DataError
        If it was not.
    """
    folder = settings.paths.prepared / name
    report = read_report(folder, DatasetReport)
    if report is None:
        raise DataError(f"{folder}: there is no prepared data set. Run: olens preprocess {name}")
    return report


def stale(settings: Settings, params: Params) -> list[str]:
    """Why the prepared data are not those that `olens preprocess` would make now.

    Data sets that are not prepared, or whose raw file is no longer there, are passed over. Reads
    the raw files once, to compare their SHA-256.

    Returns
    -------
    list of str
        Messages for the user, empty if all is up to date.
    """
    found = [_why_stale(settings, params, name) for name in params.datasets]
    return [message for message in [*found, _slices_stale(settings, params)] if message]


def declaration_for_file(params: Params, text: str, label: str) -> Dataset:
    """A declaration for a file that ``conf/params.yaml`` does not mention.

    Its labels are ``negative`` and ``positive``, and those of all declared data sets together; a
    value that means different things to them means nothing here.
    """
    meanings: dict[str, set[str]] = {"negative": {"negative"}, "positive": {"positive"}}
    for dataset in params.datasets.values():
        for name, values in dataset.labels.items():
            for value in values:
                meanings.setdefault(canonical_label(value), set()).add(name)
        for value in dataset.drop:
            meanings.setdefault(canonical_label(value), set()).add("drop")

    def meaning(name: str) -> list[str]:
        return [value for value, names in meanings.items() if names == {name}]

    return Dataset(
        path="",
        text=text,
        label=label,
        labels={"negative": meaning("negative"), "positive": meaning("positive")},
        drop=meaning("drop"),
    )


def _read(path: Path, command: str) -> pl.DataFrame:
    import polars as pl

    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Run: {command}")
    try:
        return pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is damaged ({error}). Run: {command}") from None


def _why_stale(settings: Settings, params: Params, name: str) -> str | None:
    folder = settings.paths.prepared / name
    report = read_report(folder, DatasetReport)
    again = f"Run: olens preprocess {name}"
    if report is None:
        unexplained = folder.is_dir()
        return f"{folder} does not say what it was made from. {again}" if unexplained else None
    raw = find_source(settings, params, name).path
    if report.origin == "sample" and raw.is_file():
        return f"{name} was prepared from the synthetic sample, but {raw} is there now. {again}"
    if (report.declaration, report.seed, report.shares) != (
        params.datasets[name],
        params.seed,
        params.split,
    ):
        return f"conf/params.yaml has changed since {name} was prepared. {again}"
    source = find_source(settings, params, name, sample=report.origin == "sample").path
    if source.is_file() and _differs(source, report):
        return f"{source} has changed since {name} was prepared. {again}"
    return None


def _differs(path: Path, report: DatasetReport) -> bool:
    return path.stat().st_size != report.size or fingerprint(path)[1] != report.sha256


def _slices_stale(settings: Settings, params: Params) -> str | None:
    report = read_report(settings.paths.slices, SliceReport)
    if report is None:
        return None
    tests = {name: settings.paths.prepared / name / "test.parquet" for name in params.datasets}
    now = {name: fingerprint(path)[1] for name, path in tests.items() if path.is_file()}
    if now != report.test_splits:
        return "The slices were cut from other test splits. Run: olens preprocess --slices"
    return None

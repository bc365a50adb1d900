"""Prepared texts for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.datasets.labels import recoded
from pipelines.datasets.reports import (
    DatasetReport,
    SliceReport,
    class_counts,
    read_report,
)
from pipelines.datasets.sources import check_names, find_source
from pipelines.datasets.splitting import SplitName
from pipelines.errors import DataError
from pipelines.files import fingerprint

if TYPE_CHECKING:
    import polars as pl

    from pipelines.config.params import Params
    from pipelines.config.settings import Settings


def load_split(
    settings: Settings,
    params: Params,
    split: SplitName,
    datasets: Sequence[str] | None = None,
    columns: Sequence[str] = ("text", "label"),
) -> pl.DataFrame:
    """One split of the prepared data sets, one below the other.

    Parameters
    ----------
    settings : Settings
    params : Params
    split : "train", "val" or "test"
    datasets : sequence of str, optional
        Names; all declared data sets by default.
    columns : sequence of str
        Texts take much more memory than labels, which are always needed.

    Returns
    -------
    pl.DataFrame
        ``text`` (String), ``label`` (Int8, the number of the class in `Params.classes`),
        ``dataset`` (String).

    Raises
    ------
    DataError
        If one of them is not declared or not prepared, or together they lack a class. Of more
        than two, only the train split has to have all.
    """
    import polars as pl

    names = list(params.datasets if datasets is None else datasets)
    check_names(params, names)
    parts = [
        _read(
            settings.paths.prepared / name / f"{split}.parquet", f"olens preprocess {name}", columns
        ).with_columns(pl.lit(name).alias("dataset"))
        for name in names
    ]
    texts = recoded(pl.concat(parts), params, names)
    classes = params.class_names(names)
    absent = [name for name, count in class_counts(texts, classes).items() if count == 0]
    # Without one of two classes, nothing can be compared.
    if absent and (split == "train" or len(classes) == 2):
        raise DataError(
            f"The {split} split of {', '.join(names)} has no {absent[0]} texts. Add data, or "
            "change split or seed in conf/params.yaml, and run: olens preprocess"
        )
    return texts


def load_slices(
    settings: Settings, params: Params, datasets: Sequence[str] | None = None
) -> dict[str, pl.DataFrame]:
    """The slices of the test splits by name, as far as they are of some data sets.

    The columns are those of `load_split`.

    Raises
    ------
    DataError
        If there are none.
    """
    import polars as pl

    files = sorted(settings.paths.slices.glob("*.parquet"))
    if not files:
        raise DataError(f"{settings.paths.slices}: there are no slices. Run: olens preprocess")
    names = list(params.datasets if datasets is None else datasets)
    return {
        file.stem: recoded(
            _read(file, "olens preprocess --slices").filter(pl.col("dataset").is_in(names)),
            params,
            names,
        )
        for file in files
    }


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


def _read(path: Path, command: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    import polars as pl

    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Run: {command}")
    try:
        return pl.read_parquet(path, columns=None if columns is None else list(columns), glob=False)
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

"""Raw files: where a data set's file is, and whether it is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.errors import DataError
from pipelines.tables.columns import did_you_mean

if TYPE_CHECKING:
    from pipelines.config.params import Dataset, Params
    from pipelines.config.settings import Settings


class Source(msgspec.Struct, frozen=True):
    """A raw file, how it is declared and, if it stands in ``conf/params.yaml``, its name there."""

    path: Path
    declaration: Dataset
    name: str = ""

    @property
    def where(self) -> str:
        """The place of the declaration, for messages."""
        return f"datasets.{self.name} in conf/params.yaml" if self.name else "conf/params.yaml"


def find_source(settings: Settings, params: Params, name: str, *, sample: bool = False) -> Source:
    """The file of the data set `name`, below ``paths.raw`` or, with `sample`, ``paths.sample``.

    Raises
    ------
    DataError
        If no data set of that name is declared. Whether the file exists is not checked.
    """
    check_names(params, [name])
    declaration = params.datasets[name]
    folder = settings.paths.sample if sample else settings.paths.raw
    return Source(folder / declaration.path, declaration, name)


def check_names(params: Params, names: Sequence[str]) -> None:
    """Raise a `DataError` for the first of `names` that ``conf/params.yaml`` does not declare."""
    for name in names:
        if name not in params.datasets:
            raise DataError(
                f"No data set {name!r} is declared in conf/params.yaml"
                f"{did_you_mean(name, list(params.datasets))} "
                f"Declared are: {', '.join(params.datasets)}."
            )


def check_file(source: Source) -> None:
    """Raise a `DataError` unless there is a file, with how to get it."""
    if not source.path.exists():
        raise DataError(f"{source.path}: there is no such file. {_how_to_get(source)}")


def _how_to_get(source: Source) -> str:
    if not source.name:
        return "Check the path."
    if source.declaration.kaggle:
        return f"Run: olens data download {source.name} (or put the file there yourself)."
    return f"Put the file there, or correct the path of {source.where}."

"""Raw files: where a data set's file is, what kind it is, and whether it is there."""

from __future__ import annotations

import difflib
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal

import msgspec

from pipelines.errors import DataError

if TYPE_CHECKING:
    from pipelines.params import Dataset, Params
    from pipelines.settings import Settings

Format = Literal["csv", "parquet", "jsonl"]
_FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


class Source(msgspec.Struct, frozen=True):
    """A raw file, how it is declared and, if it stands in ``conf/params.yaml``, its name there."""

    path: Path
    declaration: Dataset
    name: str = ""

    @property
    def where(self) -> str:
        """Where the user changes the declaration."""
        return f"datasets.{self.name} in conf/params.yaml" if self.name else "conf/params.yaml"

    @property
    def correction(self) -> str:
        """What to do about a column that is not there or not usable."""
        return f"Correct {self.where}." if self.name else "Name another column."


def find_source(settings: Settings, params: Params, name: str, *, sample: bool = False) -> Source:
    """The file of the data set `name`, below ``paths.raw`` or, with `sample`, ``paths.sample``.

    Raises
    ------
    DataError
        If no data set of that name is declared. Whether the file exists is not looked at.
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
    """Raise a `DataError` unless there is a file that could be read."""
    path = source.path
    file_format(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file. Correct the path of {source.where}.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. {_how_to_get(source)}")
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not first:
        raise DataError(f"{path} is empty")


def file_format(path: Path) -> Format:
    """What kind of file `path` is, by its ending.

    Raises
    ------
    DataError
        For any other ending.
    """
    ending = path.with_suffix("").suffix if is_gzip(path) else path.suffix
    found = _FORMATS.get(ending.lower())
    if found is None or (found == "parquet" and is_gzip(path)):
        raise DataError(
            f"{path}: cannot tell what kind of file this is. Its name must end in "
            f"{', '.join(_FORMATS)}, or one of the text formats and .gz."
        )
    return found


def is_gzip(path: Path) -> bool:
    """Whether the file is compressed, by its ending."""
    return path.suffix.lower() == ".gz"


def open_bytes(path: Path) -> IO[bytes]:
    """Open the file to read its bytes, decompressed."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def separator_of(source: Source) -> str:
    """What stands between the columns of a CSV file; a ``DataError`` if it is not one byte."""
    separator = source.declaration.separator
    if separator == "," and ".tsv" in source.path.suffixes:
        return "\t"
    if len(separator.encode()) != 1:
        raise DataError(f"separator = {separator!r} in {source.where}: must be one ASCII character")
    return separator


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`.` or a question, to end a sentence about an unknown word."""
    folded = {name.strip().lower(): name for name in known}
    close = difflib.get_close_matches(word.strip().lower(), folded, n=1)
    return f". Did you mean {folded[close[0]]!r}?" if close else "."


def _how_to_get(source: Source) -> str:
    if not source.name:
        return "Check the path."
    if source.declaration.kaggle:
        return f"Run: olens data download {source.name} (or put the file there yourself)."
    return f"Put the file there, or correct the path of {source.where}."

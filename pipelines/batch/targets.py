"""Where `--output` is: a file or a folder, here or in a bucket."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Final

from pipelines.batch.outputs import PACKINGS
from pipelines.batch.stores import Store, is_url
from pipelines.errors import DataError, StorageError
from pipelines.files import explained, replaced_file, sha256_of
from pipelines.tables.results import KINDS
from pipelines.text.showing import in_one_line

_UNFINISHED: Final = "unfinished"
_KINDS_OF_FILES: Final = dict.fromkeys((".txt", ".xlsx", ".xlsm"), ".csv")
"""What files that cannot be written become."""


class Target:
    """What a run writes to.

    A name that ends in a slash, is that of a folder, or has no ending means a folder; any other
    one means a file, whose ending says what it is.

    Parameters
    ----------
    output : str
        Path or URL.

    Raises
    ------
    DataError
        If the ending is not one of a file that can be written.
    MissingExtraError
        If the package for its URL is not installed.
    """

    def __init__(self, output: str) -> None:
        self.name = output
        self._store = Store(output) if is_url(output) else None
        self._path = PurePath(self._store.path) if self._store else Path(output).expanduser()
        here = None if self._store else Path(self._path)
        self.is_folder = output.endswith("/") or (here.is_dir() if here else False)
        self._is_device = (
            here is not None and here.exists() and not (self.is_folder or here.is_file())
        )
        self.is_folder |= not (self._path.suffix or self._is_device)
        self.kind, self.packing = (None, "")
        if not (self.is_folder or self._is_device):
            self.kind, self.packing = _kind_of(self._path.name)

    def check(self) -> None:
        """Raise a `StorageError` if the bucket cannot be reached."""
        if self._store:
            self._store.check()

    def file_for(self, relative: str, kind: str | None) -> str:
        """The file below the folder for the rows of a source.

        Parameters
        ----------
        relative : str
            Path of the source.
        kind : str, optional
            What it is to be, one of `KINDS`; None: what it is.
        """
        path = PurePath(relative)
        if path.suffix.lower() in (".gz", ".zst", ".zip"):
            path = path.with_suffix("")
        ending = next((end for end, name in KINDS.items() if name == kind), path.suffix)
        return str(path.with_suffix(_KINDS_OF_FILES.get(ending.lower(), ending)))

    def place_of(self, file: str) -> str:
        """The path or URL of a file below the folder; of the target itself if it is ``""``."""
        path = str(self._path / file)
        return self._store.name_of(path) if self._store else path

    def has(self, file: str) -> bool:
        """Whether there is such a file already."""
        path = self._path / file
        if self._store:
            return self._store.exists(str(path))
        return Path(path).is_file()

    def files(self) -> list[str]:
        """The files that are below the folder already."""
        if self._store:
            found = self._store.find()
        else:
            here = Path(self._path)
            found = {str(each): {} for each in here.rglob("*") if each.is_file()}
        return sorted(os.path.relpath(path, str(self._path)) for path in found)

    def delete(self, files: Iterable[str]) -> None:
        """Delete files below the folder, as far as they are there."""
        for path in (str(self._path / file) for file in files):
            if self._store:
                self._store.delete(path)
            else:
                with explained(Path(path)):
                    Path(path).unlink(missing_ok=True)

    def work_folder(self, user_cache: Path) -> Path:
        """Where unfinished output is kept; that for a bucket is below `user_cache`."""
        if self._store or self._is_device:
            return user_cache / _UNFINISHED / sha256_of(self.name.encode())[:16]
        path = Path(self._path).absolute()
        return (
            path / f".{_UNFINISHED}"
            if self.is_folder
            else path.with_name(f".{path.name}.{_UNFINISHED}")
        )

    def contains(self, name: str) -> bool:
        """Whether a source is what is written to, or below it."""
        if self._store:
            return f"{name}/".startswith(f"{self._store.name_of(str(self._path)).rstrip('/')}/")
        return Path(name).absolute().is_relative_to(Path(self._path).absolute())

    def put(self, complete: Path, file: str) -> None:
        """Give a complete file its name.

        Raises
        ------
        StorageError
            If it cannot be written there.
        """
        path = self._path / file
        if self._store:
            self._store.upload(complete, str(path))
            return
        here = Path(path)
        with explained(here):
            here.parent.mkdir(parents=True, exist_ok=True)
            if here.is_dir():
                raise StorageError(f"{here} is a folder. Choose another name.")
            if not self._is_device and complete.stat().st_dev == here.parent.stat().st_dev:
                complete.replace(here)
                return
            with (
                replaced_file(here) as fresh,
                fresh.open("wb") as copy,
                complete.open("rb") as source,
            ):
                shutil.copyfileobj(source, copy)


def _kind_of(name: str) -> tuple[str, str]:
    """Kind and packing of a file that is to be called so."""
    path = PurePath(name.lower())
    packing = path.suffix if path.suffix in PACKINGS else ""
    ending = path.with_suffix("").suffix if packing else path.suffix
    kind = KINDS.get(ending)
    if kind is None or (packing and kind == "Parquet"):
        raise DataError(
            f"{in_one_line(name)}: files that can be written end in "
            f"{', '.join(KINDS)}; text files also with {' or '.join(PACKINGS)} behind. A folder "
            "ends in a slash."
        )
    return kind, packing

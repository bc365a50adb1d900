"""The work of `olens data download`: a data set's file from Kaggle into ``paths.raw``."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.datasets.reading import open_source
from pipelines.datasets.sources import Source, find_source
from pipelines.errors import DataError, MissingExtraError
from pipelines.files import explained, fingerprint

if TYPE_CHECKING:
    from pipelines.config.params import Params
    from pipelines.config.settings import Settings

_REFUSED: Final = {401, 403}
_ABSENT: Final = {404}


class Download(msgspec.Struct, frozen=True):
    """A data set's file."""

    dataset: str
    path: str
    size: int
    """Bytes."""
    sha256: str
    fetched: bool
    """False if the file was there before."""


def download(settings: Settings, params: Params, name: str, *, force: bool = False) -> Download:
    """Fetch the file of the data set `name` from Kaggle to where its declaration says.

    Only that file is fetched, not the whole Kaggle data set: its path on Kaggle is the declared
    one without the first folder. Progress is shown on standard error. The file appears when it is
    complete and has the declared columns; after any error all is as before.

    Parameters
    ----------
    settings : Settings
    params : Params
    name : str
        A declared data set with a Kaggle slug.
    force : bool
        Fetch the file even if it is there, and replace it.

    Raises
    ------
    DataError
        If the data set is not declared or has no slug, Kaggle cannot be reached or refuses, or
        what it sends is not the declared file.
    MissingExtraError
        If kagglehub is not installed.
    StorageError
        If the file cannot be written.
    """
    source = find_source(settings, params, name)
    fetched = force or not source.path.is_file()
    if fetched:
        _fetch(source, settings.paths.raw)
    size, sha256 = fingerprint(source.path)
    return Download(name, str(source.path), size, sha256, fetched)


def _fetch(source: Source, raw: Path) -> None:
    slug = source.declaration.kaggle
    if not slug:
        raise DataError(
            f"datasets.{source.name} in conf/params.yaml names no Kaggle data set (kaggle: "
            f"owner/name), so it cannot be downloaded. Put the file at {source.path}."
        )
    with explained(source.path):
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=raw) as workspace:
            arrived = _download_file(slug, _path_on_kaggle(source), Path(workspace))
            fresh = _unpacked(arrived, source)
            open_source(msgspec.structs.replace(source, path=fresh))
            source.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(source.path)


def _path_on_kaggle(source: Source) -> str:
    """Kaggle's files are kept in a folder of their own, so that is not part of their path."""
    parts = PurePosixPath(source.declaration.path).parts
    return "/".join(parts[1:] or parts)


def _download_file(slug: str, path: str, workspace: Path) -> Path:
    try:
        import kagglehub
        import requests
        from kagglehub.exceptions import DataCorruptionError
    except ImportError:
        raise MissingExtraError("kagglehub", "train") from None
    # kagglehub reports each step on standard output, which belongs to our results.
    logging.getLogger("kagglehub").setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = kagglehub.dataset_download(slug, path, output_dir=str(workspace))
        return Path(found)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise _refusal(slug, path, status) from None
    except requests.RequestException as error:
        raise DataError(
            f"Kaggle cannot be reached to download {slug}: {_cause(error)}. Check the network and "
            "try again, or put the file into data/raw yourself."
        ) from None
    except DataCorruptionError:
        raise DataError(f"{slug}: what arrived is damaged (checksum). Try again.") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{slug} cannot be downloaded: {error}") from None


def _refusal(slug: str, path: str, status: int) -> DataError:
    if status in _REFUSED:
        return DataError(
            f"Kaggle refuses to send {slug} (HTTP {status}). Make an API token in the settings of "
            "your Kaggle account and set KAGGLE_USERNAME and KAGGLE_KEY (or KAGGLE_API_TOKEN), "
            "or accept the data set's terms on its Kaggle page."
        )
    if status in _ABSENT:
        return DataError(
            f"Kaggle has no file {path!r} in a data set {slug!r}. Correct path or kaggle of the "
            "data set in conf/params.yaml."
        )
    return DataError(f"Kaggle answers HTTP {status} for {slug}. Try again later.")


def _cause(error: BaseException) -> str:
    """The last link of a chain of network errors, which says what happened."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = str(reason or error)
    return text.rpartition(": ")[2] or type(error).__name__


def _unpacked(arrived: Path, source: Source) -> Path:
    """The declared file itself, where Kaggle has sent it inside a zip archive."""
    name = source.path.name
    if not arrived.is_file():
        raise DataError(f"Kaggle sent no file {name!r} for {source.declaration.kaggle}")
    if not zipfile.is_zipfile(arrived):
        return arrived
    target = arrived.parent / "unpacked"
    with zipfile.ZipFile(arrived) as archive:
        members = [entry for entry in archive.namelist() if PurePosixPath(entry).name == name]
        if not members:
            raise DataError(
                f"The archive of {source.declaration.kaggle} has no file {name!r}; it has: "
                f"{', '.join(archive.namelist()[:10])}. Correct path in {source.where}."
            )
        return Path(archive.extract(members[0], target))

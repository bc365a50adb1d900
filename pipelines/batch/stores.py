"""Buckets, by fsspec: ``s3://``, ``gs://``, ``az://`` and whatever else it knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import has_magic
from pathlib import Path
from typing import Any, Final

from pipelines.errors import DataError, MissingExtraError, OpinionLensError, StorageError
from pipelines.text.showing import in_one_line

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
_EXTRAS: Final = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gs")),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), ("adlfs", "az")),
}
"""The package for each kind of URL, and our extra with it."""
_IMPATIENT: Final = {"config_kwargs": {"connect_timeout": 5, "retries": {"max_attempts": 2}}}
"""For S3: without it, a bucket that is not there is waited for for minutes."""


def is_url(name: str) -> bool:
    """Whether a name is the URL of something in a bucket, not a path."""
    return _URL.match(name) is not None


class Store:
    """A bucket, or a part of it.

    Parameters
    ----------
    url : str
        Of a file, a folder or a glob.

    Raises
    ------
    MissingExtraError
        If the package for such URLs is not installed.
    DataError
        If nothing is known about such URLs.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.scheme = url.partition("://")[0]
        package, extra = _EXTRAS.get(self.scheme, ("fsspec", "s3"))
        options = _IMPATIENT if package == "s3fs" else {}
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise MissingExtraError("fsspec", extra) from None
        try:
            found: tuple[Any, str] = url_to_fs(url, **options)
        except ImportError:
            raise MissingExtraError(package, extra) from None
        except ValueError as error:
            raise DataError(f"{in_one_line(url)}: {in_one_line(str(error), 200)}") from None
        self._files, self.path = found

    def find(self) -> dict[str, dict[str, Any]]:
        """What fsspec knows of each file that the URL stands for, by its path in the store."""
        with self._explained():
            self._files.invalidate_cache()
            if has_magic(self.path):
                found = self._files.glob(self.path, detail=True)
            elif self._files.isfile(self.path):
                found = {self.path: self._files.info(self.path)}
            else:
                found = self._files.find(self.path, detail=True)
        return {path: info for path, info in found.items() if info["type"] == "file"}

    def check(self) -> None:
        """Raise a `StorageError` if the bucket does not answer, or is not there."""
        bucket = self.path.lstrip("/").partition("/")[0]
        with self._explained():
            self._files.invalidate_cache()
            with suppress(PermissionError):  # one may be allowed to write, and not to look
                self._files.ls(bucket)

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        with self._explained():
            return bool(self._files.isfile(path))

    def download(self, path: str, target: Path) -> None:
        """Copy a file of the store to `target`."""
        with self._explained():
            self._files.get_file(path, str(target))

    def upload(self, source: Path, path: str) -> None:
        """Copy a file into the store, where it appears when it is complete."""
        with self._explained():
            self._files.put_file(str(source), path)

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        with self._explained():
            if self._files.exists(path):
                self._files.rm_file(path)

    def name_of(self, path: str) -> str:
        """The URL of a path in the store."""
        return f"{self.scheme}://{path.lstrip('/')}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Put what a store raises, which may be anything, into our words."""
        try:
            yield
        except OpinionLensError:
            raise
        except FileNotFoundError:
            raise StorageError(
                f"{in_one_line(self.url)}: there is no such bucket or file. Check the name."
            ) from None
        except PermissionError as error:
            raise StorageError(
                f"{in_one_line(self.url)}: access is refused ({in_one_line(str(error), 200)}). "
                "Check the credentials in the environment."
            ) from None
        except Exception as error:
            reason = in_one_line(str(error) or type(error).__name__, 200)
            raise StorageError(
                f"{in_one_line(self.url)}: the store cannot be reached or used: {reason}"
            ) from None

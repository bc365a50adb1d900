"""From a path, or bytes that were received, to the bytes inside: gzip, Zstandard, zip with one
member."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from pipelines.errors import DataError
from pipelines.tables.findings import quoted_names

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Content = Path | bytes
"""A file, or what was received of one."""

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
HEAD: Final = 4096
"""Bytes by which a file is recognised."""

_BROKEN: Final = (gzip.BadGzipFile, EOFError, zlib.error, zstd.ZstdError, zipfile.BadZipFile)
_OFFICE: Final = {
    "xl/": "excel",
    "word/": "a Word document",
    "ppt/": "a PowerPoint presentation",
}


class Container:
    """A file whose bytes can be read from the beginning as often as needed.

    Parameters
    ----------
    content : Path or bytes
    name : str
        What messages call the file.
    unpacked : int, optional
        Most bytes that may be in it.

    Raises
    ------
    DataError
        If it cannot be opened, is empty, or is an archive of several files.
    """

    def __init__(self, content: Content, name: str, unpacked: int | None = None) -> None:
        self.content = content
        self.name = name
        self._unpacked = unpacked
        self.packing = ""
        """`gzip`, `Zstandard`, `zip` or nothing."""
        self.office = ""
        """`excel`, or in words what else of its kind a zip archive is."""
        self.member = ""
        """The name of what is inside a zip archive."""
        self._opened: IO[bytes] = io.BytesIO()
        with self._raw() as stream:
            head = stream.read(4)
        if not head:
            raise DataError(f"{name} is empty")
        if head[:2] == GZIP:
            self.packing = "gzip"
        elif head == ZSTD:
            self.packing = "Zstandard"
        elif head in ZIP:
            self._look_into_zip()

    @contextmanager
    def open(self) -> Iterator[Unpacked]:
        """The bytes inside, from the beginning."""
        with self._raw() as raw, self._unpacking(raw) as stream:
            self._opened = raw
            yield Unpacked(stream, self)

    @property
    def share_read(self) -> float:
        """How much has been read since it was opened last, 0 to 1, of the packed bytes."""
        if self._opened.closed:
            return 1.0
        content = self.content
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        return min(1.0, self._opened.tell() / size)

    def head(self) -> bytes:
        """The first bytes inside."""
        with self.open() as stream:
            return stream.read(HEAD)

    def whole(self, limit: int) -> Content:
        """What can be read in any order: the file itself, or its unpacked bytes.

        Raises
        ------
        DataError
            If these are more than `limit`.
        """
        if not self.packing:
            return self.content
        with self.open() as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise DataError(
                f"{self.name} holds more than {limit:,} bytes, too many to unpack in memory. "
                "Unpack it first."
            )
        return content

    def broken(self, error: object) -> DataError:
        """The error for a compressed file that cannot be unpacked."""
        return DataError(
            f"{self.name} is not a complete {self.packing} file: {str(error)[:200]}. "
            "Make or download it again."
        )

    def check_size(self, size: int) -> None:
        """Raise a `DataError` if `size` bytes are more than may be in the file."""
        if self._unpacked is not None and size > self._unpacked:
            raise DataError(
                f"{self.name} holds more than {self._unpacked:,} bytes once it is unpacked, "
                "which is the limit here. Split it."
            )

    def _raw(self) -> IO[bytes]:
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        if self.content.is_dir():
            raise DataError(f"{self.name} is a folder, not a file.")
        if self.content.exists() and not self.content.is_file():
            raise DataError(f"{self.name} is not a regular file.")
        try:
            return self.content.open("rb")
        except FileNotFoundError:
            raise DataError(f"{self.name}: there is no such file. Check the path.") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self.name}: cannot be read: {reason}.") from None

    @contextmanager
    def _unpacking(self, raw: IO[bytes]) -> Iterator[IO[bytes]]:
        if self.packing == "gzip":
            with gzip.GzipFile(fileobj=raw) as stream:
                yield cast(IO[bytes], stream)
        elif self.packing == "Zstandard":
            with zstd.ZstdFile(raw) as stream:
                yield cast(IO[bytes], stream)
        elif self.packing == "zip":
            with zipfile.ZipFile(raw) as archive, archive.open(self.member) as stream:
                yield stream
        else:
            yield raw

    def _look_into_zip(self) -> None:
        """An Office document is a zip archive too."""
        self.packing = "zip"
        try:
            with self._raw() as raw, zipfile.ZipFile(raw) as archive:
                entries = archive.infolist()
                names = [entry.filename for entry in entries if not _is_clutter(entry)]
        except (*_BROKEN, ValueError, NotImplementedError, OSError) as error:
            raise self.broken(error) from None
        self.office = next(
            (kind for folder, kind in _OFFICE.items() if any(n.startswith(folder) for n in names)),
            "an OpenDocument file" if "mimetype" in names and "content.xml" in names else "",
        )
        if self.office:
            self.packing = ""
            self.check_size(sum(entry.file_size for entry in entries))
            return
        if len(names) != 1:
            raise DataError(
                f"{self.name} is a zip archive of {len(names):,} files"
                f"{': ' + quoted_names(names) if names else ''}. Unpack it and choose one."
            )
        if next(e for e in entries if e.filename == names[0]).flag_bits & 1:
            raise DataError(f"{self.name} is a zip archive with a password. Unpack it first.")
        self.member = names[0]


class Unpacked:
    """A stream of the bytes inside a file that counts them and puts errors into our words."""

    def __init__(self, stream: IO[bytes], container: Container) -> None:
        self._stream = stream
        self._container = container
        self._size = 0

    def read(self, size: int) -> bytes:
        """At most `size` more bytes, fewer only at the end.

        Raises
        ------
        DataError
            If the file is damaged, or has more bytes than it may have.
        """
        parts, missing = [], size
        while missing > 0:
            try:
                part = self._stream.read(missing)
            except (*_BROKEN, NotImplementedError, RuntimeError) as error:
                raise self._container.broken(error) from None
            except OSError as error:
                raise DataError(
                    f"{self._container.name}: cannot be read: {error.strerror or error}."
                ) from None
            if not part:
                break
            parts.append(part)
            missing -= len(part)
            self._size += len(part)
            self._container.check_size(self._size)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_clutter(entry: zipfile.ZipInfo) -> bool:
    """Whether a member is a folder, or something that macOS adds."""
    name = entry.filename
    return entry.is_dir() or name.startswith("__MACOSX/") or name.endswith((".DS_Store", "._"))

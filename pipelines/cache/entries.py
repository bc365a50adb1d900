"""Entries of the model cache: the ID of a model, and what its ``entry.json`` says."""

from __future__ import annotations

import errno
import re
import zlib
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from pipelines.errors import CorruptModelError, InputError
from pipelines.files import fingerprint, read_small_file, sha256_of
from pipelines.registry.manifest import MANIFEST, FileEntry
from pipelines.registry.versions import RegisteredVersion

ENTRY: Final = "entry.json"
MODEL: Final = "model"
ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*-v\d+")
"""What IDs, and so the folders of entries, look like."""
LONGEST_ID: Final = 200
"""Characters; file names have 255 bytes, and temporary ones are longer."""
_LARGEST: Final = 1_000_000
_PIPELINE: Final = f"{MODEL}/model.skops"


class CachedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the cache.

    Attributes
    ----------
    id
        ``NAME-vVERSION``: a safe file name and URL segment.
    path
        Folder of the entry.
    created, fetched
        When the version was registered and when it was downloaded, in UTC.
    size
        Bytes on disk.
    source
        URI of the registry it came from, without credentials.
    """

    id: str
    name: str
    version: int
    aliases: list[str]
    path: Path
    created: datetime
    fetched: datetime
    size: int
    metrics: dict[str, float]
    tags: dict[str, str]
    source: str


class QuickCheck(msgspec.Struct, frozen=True):
    """Size in bytes and CRC-32 of a file: what can be checked in the time it takes to read it."""

    size: int
    crc32: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``entry.json``; `checksum` is the SHA-256 of the rest of it.

    `answering` are the files that answers come from: those of `added`, or else the pipeline.
    Entries of earlier versions do not have it.
    """

    name: str
    version: int
    aliases: list[str]
    created: datetime
    fetched: datetime
    size: int
    metrics: dict[str, float]
    tags: dict[str, str]
    source: str
    manifest_sha256: str
    added: dict[str, FileEntry]
    answering: dict[str, QuickCheck] | msgspec.UnsetType = msgspec.UNSET
    checksum: str = ""

    def describe(self, path: Path) -> CachedModel:
        """The model whose entry is the folder `path`."""
        return CachedModel(
            id=path.name,
            name=self.name,
            version=self.version,
            aliases=self.aliases,
            path=path,
            created=self.created,
            fetched=self.fetched,
            size=self.size,
            metrics=self.metrics,
            tags=self.tags,
            source=self.source,
        )


def model_id(name: str, version: int) -> str:
    """The ID of a registered version in the cache.

    Letters, digits and ``_-.`` stay, every other byte is written as ``~XX``, so the ID is one
    path segment and needs no escaping in a URL.

    Raises
    ------
    InputError
        If the name is empty or too long for a file name.
    """
    # A leading dot would make the folder a hidden one, which is what temporary ones are.
    safe = quote(name, safe="").replace("~", "%7E").replace("%", "~")
    safe = re.sub(r"^\.", "~2E", safe)
    made = f"{safe}-v{version}"
    if not name or len(made) > LONGEST_ID:
        raise InputError(
            f"The model name {name[:80]!r} cannot be a folder name: use a name of 1 to about 190 "
            "letters"
        )
    return made


def make_entry(version: RegisteredVersion, folder: Path) -> Entry:
    """What is known about `version`, whose files are all in `folder`."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    added = added_files(folder)
    return Entry(
        name=version.name,
        version=version.version,
        aliases=sorted(version.aliases),
        created=version.created,
        fetched=datetime.now(UTC),
        size=sum(sizes),
        metrics=version.metrics,
        tags=version.tags,
        source=version.source,
        manifest_sha256=fingerprint(folder / MODEL / MANIFEST)[1],
        added=added,
        answering={name: quick_check(folder / name) for name in added or [_PIPELINE]},
    )


def refresh_entry(entry: Entry, version: RegisteredVersion) -> Entry:
    """Take over what can change about a version that stays the same: aliases, tags, source."""
    return msgspec.structs.replace(
        entry,
        aliases=sorted(version.aliases),
        tags=version.tags,
        metrics=version.metrics,
        created=version.created,
        source=version.source,
    )


def read_entry(path: Path) -> Entry:
    """The content of the entry in folder `path`; a `CorruptModelError` if it cannot be used."""
    try:
        encoded = read_small_file(path / ENTRY, _LARGEST)
        entry = msgspec.json.decode(encoded, type=Entry)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptModelError(f"{path.name}: {ENTRY} cannot be used: {error}") from None
    if _checksum(entry) != entry.checksum:
        raise CorruptModelError(f"{path.name}: {ENTRY} was changed")
    if model_id(entry.name, entry.version) != path.name:
        raise CorruptModelError(f"{path.name}: {ENTRY} belongs to another model")
    return entry


def check_answering(path: Path, entry: Entry) -> None:
    """Compare the files that answers come from with the size and CRC-32 they were installed with.

    Raises
    ------
    CorruptModelError
        Naming the first file that differs.
    """
    expected = {} if entry.answering is msgspec.UNSET else entry.answering
    for name, check in expected.items():
        try:
            found = quick_check(path / name)
        except OSError as error:
            raise CorruptModelError(f"the file {name} cannot be read: {error.strerror}") from None
        if found != check:
            raise CorruptModelError(f"the file {name} differs from what was installed")


def quick_check(path: Path) -> QuickCheck:
    """What to check a file by; it is read once in a process, and again when its stamp changes."""
    found = path.stat()
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return QuickCheck(found.st_size, _crc32(path, found.st_mtime_ns, found.st_ino, found.st_size))


@lru_cache(maxsize=1000)
def _crc32(path: Path, *stamp: int) -> int:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


def encode_entry(entry: Entry) -> bytes:
    """What ``entry.json`` is to hold."""
    signed = msgspec.structs.replace(entry, checksum=_checksum(entry))
    return msgspec.json.format(msgspec.json.encode(signed), indent=2)


def added_files(entry: Path) -> dict[str, FileEntry]:
    """Size and SHA-256 of the files of an entry outside ``model/``."""
    added = {}
    for path in sorted(entry.rglob("*")):
        name = path.relative_to(entry).as_posix()
        if path.is_file() and name != ENTRY and not name.startswith(f"{MODEL}/"):
            added[name] = FileEntry(*fingerprint(path))
    return added


def _checksum(entry: Entry) -> str:
    unsigned = msgspec.structs.replace(entry, checksum="")
    return sha256_of(msgspec.json.encode(unsigned, order="sorted"))

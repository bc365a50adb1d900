"""A model's files with their SHA-256: written when it is logged, checked when it is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec

from pipelines.errors import CorruptModelError
from pipelines.files import fingerprint, sha256_of

MANIFEST: Final = "manifest.json"

MANIFEST_TAG: Final = "olens.manifest_sha256"
"""Tag of logged models and model versions: SHA-256 of the model's manifest."""


class FileEntry(msgspec.Struct, frozen=True):
    """Size in bytes and hexadecimal SHA-256 of one file."""

    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """Files by their path inside the model folder, with forward slashes."""

    files: dict[str, FileEntry]


def write_manifest(folder: Path) -> str:
    """List every file of `folder` in its manifest; returns the manifest's own SHA-256."""
    files = {name: _entry(folder / name) for name in _names(folder)}
    encoded = msgspec.json.format(msgspec.json.encode(Manifest(files)), indent=2)
    (folder / MANIFEST).write_bytes(encoded)
    return sha256_of(encoded)


def parse_manifest(encoded: bytes, sha256: str | None = None) -> Manifest:
    """The manifest in `encoded`; a `CorruptModelError` if it is damaged or has another `sha256`."""
    if sha256 is not None and sha256_of(encoded) != sha256:
        raise CorruptModelError(f"{MANIFEST} is not the one that was registered")
    try:
        return msgspec.json.decode(encoded, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptModelError(f"{MANIFEST} is damaged: {error}") from None


def verify_manifest(folder: Path, sha256: str | None = None) -> Manifest:
    """Check that `folder` holds exactly the files its manifest lists.

    Parameters
    ----------
    folder : Path
        The model folder.
    sha256 : str, optional
        The manifest's own digest, when it is known from elsewhere.

    Raises
    ------
    CorruptModelError
        If a file is missing, was added or differs, or there is no manifest.
    """
    try:
        encoded = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise CorruptModelError(
            f"{folder.name} has no {MANIFEST}: it was not logged by OpinionLens"
        ) from None
    try:
        manifest = parse_manifest(encoded, sha256)
    except CorruptModelError as error:
        raise CorruptModelError(f"{folder.name}: {error}") from None
    found = set(_names(folder))
    for name, entry in manifest.files.items():
        if name not in found:
            raise CorruptModelError(f"{folder.name}: the file {name} is missing")
        if _entry(folder / name) != entry:
            raise CorruptModelError(f"{folder.name}: the file {name} differs from its SHA-256")
    if extra := found - manifest.files.keys():
        raise CorruptModelError(f"{folder.name}: unexpected file {min(extra)}")
    return manifest


def _names(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if name != MANIFEST)


def _entry(path: Path) -> FileEntry:
    if path.is_symlink():
        raise CorruptModelError(f"{path.name} is a link; a model holds plain files only")
    return FileEntry(*fingerprint(path))

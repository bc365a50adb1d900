"""The list of a model's files with their SHA-256: written when it is logged, checked when fetched.

Training writes it and the registry checks it, so it stands outside both.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from pipelines.errors import CorruptModelError

MANIFEST: Final = "manifest.json"

MANIFEST_TAG: Final = "olens.manifest_sha256"
"""Tag of logged models and model versions: SHA-256 of the model's manifest."""


class FileEntry(msgspec.Struct, frozen=True):
    """Size in bytes and hexadecimal SHA-256 of one file."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """Files by their path inside the model folder, with forward slashes."""

    files: dict[str, FileEntry]


def write_manifest(folder: Path) -> str:
    """List every file of `folder` in its manifest; returns the manifest's own SHA-256."""
    files = {name: _entry(folder / name) for name in _names(folder)}
    encoded = msgspec.json.format(msgspec.json.encode(Manifest(files)), indent=2)
    (folder / MANIFEST).write_bytes(encoded)
    return hashlib.sha256(encoded).hexdigest()


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
        manifest = msgspec.json.decode(encoded, type=Manifest)
    except FileNotFoundError:
        raise CorruptModelError(
            f"{folder.name} has no {MANIFEST}: it was not logged by OpinionLens"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptModelError(f"{folder.name}: {MANIFEST} is damaged: {error}") from None
    if sha256 is not None and hashlib.sha256(encoded).hexdigest() != sha256:
        raise CorruptModelError(f"{folder.name}: {MANIFEST} is not the one that was registered")
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
    with path.open("rb") as file:
        return FileEntry(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())

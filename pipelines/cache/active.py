"""``active.json``: which model of the cache answers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import msgspec

from pipelines.errors import CorruptModelError
from pipelines.files import read_small_file, sync, write_synced

ACTIVE: Final = "active.json"
UNREADABLE: Final = -1
"""Begins the stamp of a file that cannot be looked at, since its folder cannot be searched."""
_LARGEST: Final = 10_000
_ACTIVATE: Final = "Activate one: olens models activate ID"


class _Active(msgspec.Struct, frozen=True):
    """Content of ``active.json``.

    The ID is that of a model of the cache or of the package; without one, none was chosen. `before`
    is the one before, in the same way; it is not there if nobody knows.
    """

    id: str | None
    before: str | msgspec.UnsetType | None = msgspec.UNSET


def read_active(folder: Path) -> str | None:
    """ID of the active model of the cache in `folder`; whether there is such a model is not asked.

    None if none was ever activated, or the last one was deactivated.

    Raises
    ------
    CorruptModelError
        If the file cannot be used.
    """
    return _read(folder).id


def read_before(folder: Path) -> str | msgspec.UnsetType | None:
    """ID of the model that was active before the active one; None if none was chosen.

    `msgspec.UNSET` if nobody knows.
    """
    try:
        return _read(folder).before
    except CorruptModelError:
        return msgspec.UNSET


def _read(folder: Path) -> _Active:
    path = folder / ACTIVE
    try:
        return msgspec.json.decode(read_small_file(path, _LARGEST), type=_Active)
    except OSError as error:
        if active_stamp(folder) is None:
            return _Active(None)
        raise CorruptModelError(
            f"{path} cannot be read: {error.strerror}. Delete it, then activate a model: "
            "olens models activate ID"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptModelError(f"{path} cannot be read ({error}). {_ACTIVATE}") from None


def write_active(folder: Path, id_: str | None, temporary: Path) -> None:
    """Replace the file, by way of the file `temporary`; there must be one writer at a time."""
    try:
        found = _read(folder)
        before = found.before if found.id == id_ else found.id
    except CorruptModelError:
        before = msgspec.UNSET
    write_synced(temporary, msgspec.json.encode(_Active(id_, before)))
    now = time.time_ns()
    os.utime(temporary, ns=(now, now))  # the kernel's own stamp is only exact to its tick
    temporary.replace(folder / ACTIVE)
    sync(folder)


def active_stamp(folder: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever the file is written; None: there is no file.

    A link to nothing and a folder that cannot be searched are not the same as no file.
    """
    path = folder / ACTIVE
    try:
        found = path.lstat() if path.is_symlink() and not path.exists() else path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return UNREADABLE, error.errno or 0, 0
    return found.st_mtime_ns, found.st_ino, found.st_size

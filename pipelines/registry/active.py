"""``active.json``: which model of the cache answers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import msgspec

from pipelines.errors import CorruptModelError, ModelNotFoundError
from pipelines.registry.disk import sync, write_synced

ACTIVE: Final = "active.json"
_ACTIVATE: Final = "Activate one: olens models activate ID"


class _Active(msgspec.Struct, frozen=True):
    """Content of ``active.json``."""

    id: str


def read_active(folder: Path) -> str:
    """ID of the active model of the cache in `folder`; whether there is such a model is not asked.

    Raises
    ------
    ModelNotFoundError
        If none was ever activated.
    CorruptModelError
        If the file cannot be used.
    """
    path = folder / ACTIVE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Active).id
    except FileNotFoundError:
        raise ModelNotFoundError(f"No model is active in {folder}. {_ACTIVATE}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise CorruptModelError(f"{path} cannot be read ({error}). {_ACTIVATE}") from None


def write_active(folder: Path, id_: str, temporary: Path) -> None:
    """Replace the file, by way of the file `temporary`; there must be one writer at a time."""
    write_synced(temporary, msgspec.json.encode(_Active(id_)))
    now = time.time_ns()
    os.utime(temporary, ns=(now, now))  # the kernel's own stamp is only exact to its tick
    temporary.replace(folder / ACTIVE)
    sync(folder)


def remove_active(folder: Path) -> None:
    """Delete the file, so that it is as if no model had ever been activated."""
    (folder / ACTIVE).unlink(missing_ok=True)
    sync(folder)


def active_stamp(folder: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever the file is written, for one `stat`; None: there is no file."""
    try:
        found = (folder / ACTIVE).stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size

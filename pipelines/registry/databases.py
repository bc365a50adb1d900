"""SQLite databases of MLflow and Optuna: there whole or not at all, and checked before use.

Both tools make their tables one by one, in the file itself. Two processes that do so at once, or
one that is killed meanwhile, leave a database that neither tool can open again.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from pipelines.errors import StorageError
from pipelines.files import explained, sync

_SQLITE: Final = "sqlite:///"
_OPTIONS: Final = re.compile(r"\?\w+=[^/]*$")
"""Options of SQLAlchemy; any other question mark is part of a file's name."""
_BUSY: Final = 10.0
"""Seconds to wait for another process that is writing: it takes milliseconds."""

Make = Callable[[str], None]
"""Makes the tables of a new database at this SQLAlchemy URI, and closes it."""


def database_file(uri: str) -> Path | None:
    """The file of a SQLite database by its URI in the settings; None for any other URI."""
    if not uri.startswith(_SQLITE) or ":memory:" in uri:
        return None
    return Path(_OPTIONS.sub("", uri.removeprefix(_SQLITE)))


def engine_uri(uri: str) -> str:
    """`uri` in the form for SQLAlchemy, also where the path has ``?`` or ``%`` in it.

    The driver is named there because MLflow would take such a path literally otherwise, and make
    its folders.
    """
    file = database_file(uri)
    if file is None or not set("?%") & set(str(file)):
        return uri
    from sqlalchemy.engine import URL

    return URL.create("sqlite+pysqlite", database=str(file)).render_as_string()


def ensure_database(file: Path, make: Make) -> None:
    """Make the database at `file` if there is none, else check that it is complete.

    It is made under a lock, in a folder beside its place, and moved in when it is complete.

    Raises
    ------
    StorageError
        If it cannot be made or read, is no database or was not made to its end.
    """
    if not _is_there(file):
        with explained(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            with _locked(file):
                if not _is_there(file):
                    _make_beside(file, make)
    _check(file)


def require_writable(file: Path) -> None:
    """Raise StorageError if the database at `file` can only be read.

    So it is, too, while another process writes and does not end.
    """
    for path in (file, file.parent):  # SQLite writes its journal beside the file
        if not os.access(path, os.W_OK):
            raise StorageError(
                f"{path}: cannot be written: permission denied. Runs and studies are kept there; "
                "change its permissions, or set mlflow.tracking_uri and optuna.storage"
            )
    try:
        with _connected(file) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.DatabaseError as error:
        raise storage_failure(error, file) or _unreadable(file, str(error)) from None


def _is_there(file: Path) -> bool:
    """Whether there is more than the empty file that a process killed early leaves."""
    return file.exists() and (not file.is_file() or file.stat().st_size > 0)


def _make_beside(file: Path, make: Make) -> None:
    prefix = f".{file.name}-"
    for left in file.parent.glob(f"{prefix}*"):  # by a process that was killed: we have the lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=file.parent) as folder:
        new = Path(folder) / file.name
        try:
            make(engine_uri(f"{_SQLITE}{new}"))
        except Exception as error:  # SQLAlchemy's, or MLflow's around it
            if failure := storage_failure(error, file):
                raise failure from None
            raise
        sync(new)
        new.replace(file)
    sync(file.parent)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that the kernel releases when the process ends, however it ends."""
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check(file: Path) -> None:
    if not file.is_file():
        raise StorageError(f"{file}: is not a file. Move it away, or name another database")
    if not os.access(file, os.R_OK):
        raise StorageError(f"{file}: cannot be read: permission denied")
    try:
        with _connected(file) as connection:
            connection.execute("SELECT sql FROM sqlite_master").fetchall()
            complete = _version(connection) is not None
    except sqlite3.DatabaseError as error:
        raise storage_failure(error, file) or _unreadable(file, str(error)) from None
    if not complete:
        raise half_made(file)


@contextmanager
def _connected(file: Path) -> Iterator[sqlite3.Connection]:
    # Not read-only: SQLite may have to roll back what a killed process was writing.
    uri = f"{file.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY)) as connection:
        yield connection


def _version(connection: sqlite3.Connection) -> str | None:
    """The version of the tables, which both tools write down last, with Alembic."""
    tables = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    if connection.execute(tables).fetchone() is None:
        return None
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if found is None else str(found[0])


def storage_failure(error: Exception, file: Path) -> StorageError | None:
    """The error of ours for one of SQLite about the disk, a lock or missing tables."""
    text = str(error)
    if "disk is full" in text:
        return StorageError(
            f"{file}: the disk is full. What was written before is kept; free some space and "
            "try again"
        )
    if found := re.search("database disk image is malformed|file is not a database", text):
        return _unreadable(file, found[0])
    if "database is locked" in text:
        return StorageError(
            f"{file}: another process is writing to it and does not finish. Wait for it, or end it "
            f"(fuser '{file}' names it), and try again"
        )
    if "readonly database" in text or "unable to open database file" in text:
        return StorageError(f"{file}: cannot be written. Check the permissions of its folder")
    if re.search(
        r'no such (table|column)|(table|index) "?\w+"? already exists|duplicate column', text
    ):
        return half_made(file)
    return None


def _unreadable(file: Path, reason: str) -> StorageError:
    return StorageError(
        f"{file}: cannot be read: {reason}. Restore it from a backup, or move it away; the next "
        "run makes a new one"
    )


def half_made(file: Path) -> StorageError:
    """The error for a database whose making was interrupted."""
    return StorageError(
        f"{file}: this database was not made to its end; whatever made it was interrupted. If "
        f"nothing else is making it now, move it away (mv '{file}' '{file}.broken') and try "
        "again: the next run makes a new one"
    )

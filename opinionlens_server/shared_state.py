"""State that the workers of one service share, in a small SQLite file.

Failed sign-ins, ended sessions, running downloads, verdicts per minute: every worker gives the same
answer about them. The file lives as long as the service, or as the folder of the settings.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pipelines.errors import StorageError
from pipelines.files import sha256_of

LINKS: Final = "links"
"""Folder of one-time links: one empty file each, named by the SHA-256 of its token."""

ANSWERING: Final = "answering"
"""File with the ID of the model that the service answers with."""

CLIENTS: Final = "clients"
"""File with what clients have asked."""

CONNECTIONS: Final = "connections"
"""File with how many connections they have."""

OF_ONE_RUN: Final = (ANSWERING, CLIENTS, CONNECTIONS)
"""Files that mean nothing once the service is started again."""

LINK_SECONDS: Final = 15 * 60
"""Lifetime of a one-time link."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS failures (client TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS ended_sessions (id TEXT PRIMARY KEY, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS fetches (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER, alias TEXT,
    activate INTEGER NOT NULL, worker INTEGER NOT NULL, state TEXT NOT NULL,
    received INTEGER NOT NULL DEFAULT 0, total INTEGER, message TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS adaptation (
    one INTEGER PRIMARY KEY CHECK (one = 1), file TEXT NOT NULL, name TEXT NOT NULL,
    worker INTEGER NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL DEFAULT '', result TEXT
);
CREATE TABLE IF NOT EXISTS following (
    one INTEGER PRIMARY KEY CHECK (one = 1), version TEXT, problem TEXT, checked REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS serving (
    pid INTEGER PRIMARY KEY, started REAL NOT NULL, behind INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS judged (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, profile TEXT NOT NULL, texts INTEGER NOT NULL,
    counts BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS made (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS minutes (
    minute INTEGER PRIMARY KEY, requests INTEGER NOT NULL,
    positive INTEGER NOT NULL, negative INTEGER NOT NULL
);
"""


class SharedState:
    """The folder and the database that the workers of one service share.

    Parameters
    ----------
    folder : Path, optional
        By default a temporary folder of this object, for a single process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._own = TemporaryDirectory(prefix="olens-") if folder is None else None
        self.folder = Path(self._own.name) if self._own else folder or Path()
        self._file = self.folder / "state.db"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        with self.reading() as database:
            # Kept open: the last connection would delete the log, and on a full disk nobody could
            # make it again, not even to read.
            self._kept = sqlite3.connect(self._file, check_same_thread=False)
            # With a write-ahead log, readers wait for no writer.
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)
            database.execute("INSERT OR IGNORE INTO made VALUES (1, ?)", (int(time.time()),))
            self.made: int = database.execute("SELECT at FROM made").fetchone()[0]
            """When the file was made, in seconds since 1970."""
            self._kept.execute("SELECT at FROM made").fetchone()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for a single SELECT; it does not wait for a writer's transaction.

        Raises
        ------
        StorageError
            If the file cannot be used.
        """
        try:
            with closing(sqlite3.connect(self._file, timeout=5, isolation_level=None)) as database:
                yield database
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that excludes other writers from its beginning; errors as for reading."""
        with self.reading() as database:
            # The state ends with the service: it does not have to survive a power cut.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN IMMEDIATE")
            with database:
                yield database

    def make_link(self) -> str:
        """The token of a new one-time link."""
        token = secrets.token_urlsafe(24)
        (self.folder / LINKS).mkdir(exist_ok=True)
        self._link(token).touch()
        return token

    def _unusable(self, error: Exception) -> StorageError:
        return StorageError(
            f"The folder {self.folder}, which the workers share, cannot be used: {error}. Make "
            "room there, or set serving.state_folder to another folder"
        )

    def use_link(self, token: str) -> bool:
        """Use up the one-time link of `token`: whether it was there and is not too old."""
        link = self._link(token)
        try:
            made = link.stat().st_mtime
            # Of all workers and threads, one succeeds.
            link.unlink()
        except OSError:
            return False
        return time.time() - made < LINK_SECONDS

    def _link(self, token: str) -> Path:
        return self.folder / LINKS / sha256_of(token.encode())


def is_running(pid: int) -> bool:
    """Whether the process `pid` runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

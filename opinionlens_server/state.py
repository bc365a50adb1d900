"""What the workers of one service have to know together, in a small SQLite file.

Failed sign-ins, ended sessions, downloads that are going on, the count of verdicts: whichever
worker a request reaches, the answer has to be the same. The file lives as long as the service.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pipelines.errors import StorageError

LINKS: Final = "links"
"""Folder of one-time links: one empty file for each, named by the SHA-256 of its token."""

LINK_SECONDS: Final = 15 * 60
"""How long a one-time link may be used."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS failures (client TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS ended_sessions (id TEXT PRIMARY KEY, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS fetches (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER, alias TEXT,
    activate INTEGER NOT NULL, worker INTEGER NOT NULL, state TEXT NOT NULL,
    received INTEGER NOT NULL DEFAULT 0, total INTEGER, message TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS following (
    one INTEGER PRIMARY KEY CHECK (one = 1), version TEXT, problem TEXT, checked REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS workers (pid INTEGER PRIMARY KEY, started REAL NOT NULL);
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
        Where they are; by default in a temporary folder of this object, for a single process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._own = TemporaryDirectory(prefix="olens-") if folder is None else None
        self.folder = Path(self._own.name) if self._own else folder or Path()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.database() as database:
            database.executescript(_SCHEMA)

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """A transaction; it holds off other writers from its beginning.

        Raises
        ------
        StorageError
            If the file cannot be used.
        """
        try:
            connection = sqlite3.connect(self.folder / "state.db", timeout=5, isolation_level=None)
            try:
                # The facts end with the service: nothing has to survive a power cut.
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StorageError(
                f"The folder {self.folder}, which the workers share, cannot be used: {error}. Make "
                "room there, or set serving.state_folder to another folder"
            ) from error

    def use_link(self, token: str) -> bool:
        """Whether `token` is that of a one-time link that nobody has used yet; it is used now."""
        link = self.folder / LINKS / hashlib.sha256(token.encode()).hexdigest()
        try:
            made = link.stat().st_mtime
            # Of all workers and threads, one succeeds.
            link.unlink()
        except OSError:
            return False
        return time.time() - made < LINK_SECONDS


def is_running(pid: int) -> bool:
    """Whether the process `pid` of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Tables in a SQLite file or in PostgreSQL, in which a deleted text is gone from the files, too.

What a block has written is on the disk when it ends, so a process that is killed loses none of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from pipelines.errors import MissingExtraError, StorageError, UnreachableStorageError

_SQLITE: Final = "sqlite:///"
_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",  # readers wait for no writer
    "PRAGMA synchronous = FULL",  # what was written survives a power cut
    "PRAGMA secure_delete = ON",
)
_BUSY: Final = 20
"""Seconds to wait for another writer."""
_CONNECT: Final = 5
"""Seconds that PostgreSQL has to answer."""
_IDLE: Final = 4
"""Connections to PostgreSQL that are kept for later."""
_LOCK: Final = 7_342_610
"""Advisory lock of PostgreSQL that writers hold."""

Execute = Callable[..., list[tuple[Any, ...]]]
"""``execute(statement, *values)`` gives the rows; ``?`` stands for a value."""


class SqlStorage:
    """Tables behind a URI of the settings; nothing is opened before the first use.

    Safe to use from several threads and processes.

    Parameters
    ----------
    uri : str
        ``sqlite:///FILE`` or ``postgresql://...``. Only the owner may read a file that is made.
    setting : str
        What the URI is called in the settings, for messages.
    schema : sequence of str
        Statements that make tables and indexes if they are not there, for both databases;
        ``SERIAL PRIMARY KEY`` is a number that is never given twice.

    Raises
    ------
    MissingExtraError
        If the driver for PostgreSQL is not installed.
    """

    def __init__(self, uri: str, setting: str, schema: Sequence[str]) -> None:
        self.file = Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
        """The file; None for PostgreSQL."""
        # MLflow and Optuna name the driver in the scheme, and libpq does not know that.
        self._uri = uri.replace("postgresql+psycopg2:", "postgresql:", 1)
        self._place = str(self.file or _without_password(self._uri))
        self._setting = setting
        self._schema = [
            each.replace("SERIAL PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT")
            if self.file
            else each
            for each in schema
        ]
        self._is_made = False
        self._idle: list[Any] = []
        if self.file is None:
            _require_driver()

    @contextmanager
    def reading(self) -> Iterator[Execute]:
        """Statements that only read; no writer waits for them, nor they for one.

        Raises
        ------
        StorageError
            If the file cannot be used.
        UnreachableStorageError
            If PostgreSQL does not answer.
        """
        with self._connected() as execute:
            yield execute

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        """All statements of the block, or none; other writers wait. Errors as for `reading`."""
        with self._connected() as execute, self._transaction(execute):
            yield execute

    def rewrite(self, *tables: str) -> None:
        """Write tables anew, so that nothing is left of deleted rows in the files.

        The write-ahead log of PostgreSQL and backups are not touched. Errors as for `reading`.
        """
        with self._connected() as execute:
            if self.file is None:
                for table in tables:
                    execute(f"VACUUM FULL {table}")
                return
            execute("VACUUM")
            ((is_busy, *_),) = execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if is_busy:
                raise StorageError(
                    f"{self.file}: another program is reading it. The texts are deleted, but "
                    "its write-ahead log keeps them until that program ends"
                )

    @contextmanager
    def _connected(self) -> Iterator[Execute]:
        """A connection, with the tables made; a transaction that is left by an error is undone."""
        try:
            if self.file is not None and _make_private(self.file):
                self._is_made = False
        except OSError as error:
            raise StorageError(self._explain(error)) from error
        connect = self._sqlite if self.file else self._postgres
        with connect() as execute:
            if not self._is_made:
                with self._transaction(execute):
                    for statement in self._schema:
                        execute(statement)
                self._is_made = True
            yield execute

    @contextmanager
    def _transaction(self, execute: Execute) -> Iterator[None]:
        execute("BEGIN IMMEDIATE" if self.file else "BEGIN")
        if self.file is None:
            execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield
        execute("COMMIT")

    @contextmanager
    def _sqlite(self) -> Iterator[Execute]:
        def execute(statement: str, *values: object) -> list[tuple[Any, ...]]:
            return connection.execute(statement, values).fetchall()

        try:
            opened = sqlite3.connect(str(self.file), timeout=_BUSY, isolation_level=None)
            with closing(opened) as connection:
                for pragma in _PRAGMAS:
                    execute(pragma)
                yield execute
        except sqlite3.Error as error:
            raise StorageError(self._explain(error)) from error

    @contextmanager
    def _postgres(self) -> Iterator[Execute]:
        import psycopg2

        def execute(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor.execute(statement.replace("?", "%s"), values or None)
            return cursor.fetchall() if cursor.description else []

        try:
            with _closed_on_errors(self._connect()) as connection:
                cursor = connection.cursor()
                yield execute
                cursor.close()
                self._idle.append(connection)
        except psycopg2.Error as error:
            raise UnreachableStorageError(self._explain(error)) from None

    def _connect(self) -> Any:
        """A connection that works: one that was used before, or a new one."""
        import psycopg2

        del self._idle[_IDLE:]
        while self._idle:
            try:
                connection = self._idle.pop()
                connection.cursor().execute("SELECT 1")
            except (IndexError, psycopg2.Error):  # another thread has it; it is closed
                continue
            return connection
        connection = psycopg2.connect(self._uri, connect_timeout=_CONNECT)
        connection.autocommit = True
        connection.cursor().execute(f"SET lock_timeout = '{_BUSY}s'")
        return connection

    def _explain(self, error: Exception) -> str:
        # What follows the first line may quote values.
        reason = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0][:300]
        return (
            f"{self._place}: cannot be used: {reason}. Make room or a connection there, or set "
            f"{self._setting} to another database"
        )


def storable(text: str) -> str:
    """`text` without the character that PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd")


def _without_password(uri: str) -> str:
    """User, host and database of a URI."""
    account, at, place = uri.partition("://")[2].rpartition("@")
    return f"postgresql://{account.partition(':')[0]}{at}{place.partition('?')[0]}"


@contextmanager
def _closed_on_errors(connection: Any) -> Iterator[Any]:
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _make_private(file: Path) -> bool:
    """Make an empty file that only its owner may read, unless it is there; says which it was."""
    if is_new := not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    return is_new


def _require_driver() -> None:
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        raise MissingExtraError("psycopg2", "postgres") from None

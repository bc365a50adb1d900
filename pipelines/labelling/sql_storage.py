"""Tables in a SQLite file or in PostgreSQL, in which a deleted text is gone from the files, too."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from pipelines.errors import MissingExtraError, StorageError, UnreachableStorageError
from pipelines.files import explained

_SQLITE: Final = "sqlite:///"
_BUSY: Final = 20.0
"""Seconds to wait for another process that is writing."""
_CONNECT: Final = 5
"""Seconds that PostgreSQL has to answer."""
_SCHEMA_LOCK: Final = 7_342_610
"""Advisory lock of PostgreSQL: two processes cannot make the same table at once."""

Execute = Callable[..., list[tuple[Any, ...]]]
"""``execute(statement, *values)`` gives the rows; ``?`` stands for a value."""


class SqlStorage:
    """Tables behind a URI of the settings; nothing is opened before the first use.

    Parameters
    ----------
    uri : str
        ``sqlite:///FILE`` or ``postgresql://...``. Only the owner may read a file that is made.
    schema : sequence of str
        Statements that make tables and indexes if they are not there, for both databases.

    Raises
    ------
    MissingExtraError
        If the driver for PostgreSQL is not installed.
    """

    def __init__(self, uri: str, schema: Sequence[str]) -> None:
        self._schema = schema
        self.file = Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
        """The file; None for PostgreSQL."""
        # MLflow and Optuna name the driver in the scheme, and libpq does not know that.
        self._uri = uri.replace("postgresql+psycopg2:", "postgresql:", 1)
        if self.file is None:
            _require_driver()

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """All statements of the block, or none; other writers wait.

        Raises
        ------
        StorageError
            If the file cannot be used.
        UnreachableStorageError
            If PostgreSQL does not answer.
        """
        begin = _in_sqlite(self.file) if self.file else _in_postgres(self._uri)
        with begin as execute:
            for statement in self._schema:
                execute(statement)
            yield execute

    def rewrite(self, table: str) -> None:
        """Write a table anew, so that nothing is left of deleted rows in the files.

        The write-ahead log of PostgreSQL and backups are not touched. Errors as for `transaction`.
        """
        if self.file is None:
            with _postgres(self._uri) as connection:
                connection.autocommit = True
                connection.cursor().execute(f"VACUUM FULL {table}")
            return
        with _sqlite(self.file) as connection:
            connection.execute("VACUUM")
            # Another program may have switched the file to a write-ahead log.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _in_sqlite(file: Path) -> Iterator[Execute]:
    with _sqlite(file) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield lambda statement, *values: connection.execute(statement, values).fetchall()


@contextmanager
def _sqlite(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        _make_private(file)
        with closing(sqlite3.connect(file, timeout=_BUSY, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            yield connection
    except sqlite3.Error as error:
        raise StorageError(
            f"{file}: cannot be used: {error}. Make room, or move the file away"
        ) from error


def _make_private(file: Path) -> None:
    """Make an empty file that only its owner may read, unless it is there."""
    with explained(file):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


@contextmanager
def _in_postgres(uri: str) -> Iterator[Execute]:
    with _postgres(uri) as connection:
        cursor = connection.cursor()

        def execute(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor.execute(statement.replace("?", "%s"), values or None)
            return cursor.fetchall() if cursor.description else []

        execute(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
        yield execute
        connection.commit()


@contextmanager
def _postgres(uri: str) -> Iterator[Any]:
    import psycopg2

    try:
        # Without a commit, closing rolls back.
        with closing(psycopg2.connect(uri, connect_timeout=_CONNECT)) as connection:
            yield connection
    except psycopg2.Error as error:
        # What follows the first line may quote values.
        reason = str(error).partition("\n")[0]
        raise UnreachableStorageError(f"PostgreSQL cannot be used: {reason}") from None


def _require_driver() -> None:
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        raise MissingExtraError("psycopg2", "postgres") from None

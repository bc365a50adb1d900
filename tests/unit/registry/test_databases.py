"""SQLite databases are there whole or not at all, whatever happens while they are made."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipelines.errors import StorageError
from pipelines.registry.databases import (
    database_file,
    engine_uri,
    ensure_database,
    require_writable,
)

KILLED_WHILE_MAKING = """\
import os, sqlite3, sys
from pathlib import Path
from pipelines.registry.databases import ensure_database

def make(uri):
    connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
    connection.execute("CREATE TABLE experiments (name)")
    os.kill(os.getpid(), 9)

ensure_database(Path(sys.argv[1]), make)
"""


def make(uri: str) -> None:
    engine = create_engine(uri)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE experiments (name TEXT)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('1')"))
    engine.dispose()


def no_make(uri: str) -> None:
    pytest.fail("it was there already")


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}


def test_it_is_made_once_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "mlflow.db"
    ensure_database(file, make)
    ensure_database(file, no_make)
    assert tables(file) == {"experiments", "alembic_version"}
    assert {path.name for path in file.parent.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_making_that_fails_leaves_no_database(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(uri: str) -> None:
        make(uri)
        raise error

    file = tmp_path / "mlflow.db"
    with pytest.raises(error):
        ensure_database(file, fail)
    assert [path.name for path in tmp_path.iterdir()] == [".mlflow.db.lock"]
    ensure_database(file, make)


def test_a_process_killed_while_making_leaves_no_database(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_MAKING, str(file)], check=False, capture_output=True
    )
    assert done.returncode == -9, done.stderr
    assert not file.exists()
    ensure_database(file, make)
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    made = []

    def slowly(uri: str) -> None:
        made.append(uri)
        time.sleep(0.2)
        make(uri)

    threads = [threading.Thread(target=ensure_database, args=(file, slowly)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    ensure_database(file, no_make)


def test_an_empty_file_counts_as_none(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.touch()
    ensure_database(file, make)
    assert "experiments" in tables(file)


@pytest.mark.parametrize("last", ["experiments (name)", "alembic_version (version_num)"])
def test_a_half_made_database_is_recognised(tmp_path: Path, last: str) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"CREATE TABLE {last}")
    with pytest.raises(StorageError, match=r"was not made to its end.*mv '.*mlflow\.db' '"):
        ensure_database(file, no_make)


def test_a_file_that_is_not_a_database_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"not a database" * 100)
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"mlflow\.db: cannot be read: .*not a database"):
        ensure_database(file, no_make)
    assert time.monotonic() - started < 60  # MLflow tries for a minute and a half.
    folder = tmp_path / "folder.db"
    folder.mkdir()
    with pytest.raises(StorageError, match="is not a file"):
        ensure_database(folder, no_make)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "locked" / "mlflow.db"
    ensure_database(file, make)
    file.parent.chmod(0o555)
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            require_writable(file)
        with pytest.raises(StorageError, match="cannot be written"):
            ensure_database(file.with_name("optuna.db"), make)
    finally:
        file.parent.chmod(0o755)


def test_a_database_that_another_process_writes_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.registry.databases._BUSY", 0.1)
    file = tmp_path / "mlflow.db"
    ensure_database(file, make)
    require_writable(file)
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        ensure_database(file, no_make)  # it can be read
        with pytest.raises(StorageError, match="another process is writing to it") as found:
            require_writable(file)
        assert str(file) in str(found.value)
        other.execute("COMMIT")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="another process is writing to it"):
            ensure_database(file, no_make)
    require_writable(file)


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%b", "a%20b", "a b", "ü&;=", "a?b=c"])
def test_a_path_may_have_any_character(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "mlflow.db"
    assert database_file(f"sqlite:///{file}") == file
    ensure_database(file, make)
    assert "experiments" in tables(file)
    engine = create_engine(engine_uri(f"sqlite:///{file}"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "1"
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_uris_that_are_left_as_they_are() -> None:
    for uri in ("sqlite:////a/b.db?timeout=30", "postgresql://u:p%25@host/db", "http://host:5000"):
        assert engine_uri(uri).startswith(uri.partition("?")[0])
    assert database_file("sqlite:////a/b.db?timeout=30&x=1") == Path("/a/b.db")
    assert database_file("sqlite:///:memory:") is None
    assert database_file("http://host") is None

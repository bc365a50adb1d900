"""Removal from the label store, and what happens to those who still have the texts before them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.errors import InputError, StorageError
from pipelines.labelling.store import LabelStore, NewLabel, Project, Suggestion

CANARY = "canarybird"


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(f"sqlite:///{tmp_path}/labels/labels.db")


@pytest.fixture
def project(store: LabelStore) -> Project:
    """Half of its texts are about a canary, and so is what people say of them."""
    made = store.create("pile", ("a", "b"))
    store.add_texts(made, ((n, f"{CANARY if n % 2 else 'kept'} {n} {'x' * n}") for n in range(50)))
    for each in store.texts(made):
        word = each.text.split()[0]
        new = NewLabel(text=each.id, annotator=f"ann {word}", answer="a", note=f"note {word}")
        store.put(made, [new])
        store.settle(made, new)
        store.suggest(made, [Suggestion(text=each.id, label=word, suggestion="b", reason=word)])
        store.shown(made, new.annotator, lambda _, text=each.id: text)
    return made


def files_with(canary: str, folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if canary.encode() in path.read_bytes()]


@pytest.fixture
def other(project: Project, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that has the file open, so that its write-ahead log stays."""
    with closing(sqlite3.connect(tmp_path / "labels/labels.db", timeout=0)) as connection:
        connection.execute("SELECT COUNT(*) FROM labels").fetchone()
        yield connection


def test_removed_texts_are_in_no_file_of_the_database(
    store: LabelStore, project: Project, other: sqlite3.Connection, tmp_path: Path
) -> None:
    gone = [each.id for each in store.texts(project) if CANARY in each.text]
    late = NewLabel(text=gone[0], annotator="ann", answer="b", note=CANARY)
    store.settle(project, late)
    # What was written last is in the write-ahead log.
    assert "labels.db-wal" in files_with(CANARY, tmp_path / "labels")

    store.remove(project, gone)

    assert files_with(CANARY, tmp_path / "labels") == []
    assert {each.text[:4] for each in store.texts(project)} == {"kept"}
    assert len(store.labels(project)) == len(store.settlements(project)) == 25
    assert store.suggestion(gone[0]) is None


def test_a_removed_project_is_in_no_file_of_the_database(
    store: LabelStore, project: Project, tmp_path: Path
) -> None:
    left = store.create("left", ("a", "b"))
    store.add_texts(left, [(1, "left alone")])
    store.remove(project)

    assert files_with(CANARY, tmp_path / "labels") == []
    assert files_with("pile", tmp_path / "labels") == []
    assert store.projects() == [left]
    assert store.count(left) == 1


def test_nothing_is_stored_about_what_was_removed(store: LabelStore, project: Project) -> None:
    text = store.texts(project)[0]
    label = NewLabel(text=text.id, annotator="bob", answer="a")
    store.remove(project, [text.id])
    for stale in (
        lambda: store.put(project, [label]),
        lambda: store.settle(project, label),
    ):
        with pytest.raises(InputError, match="no such text"):
            stale()

    store.remove(project)
    again = store.create("pile", ("a", "b"))
    with pytest.raises(InputError, match="was removed"):
        store.add_texts(project, [(1, "too late")])
    store.add_texts(again, [(1, "new")])
    # Whoever has an old page open must not label another text.
    assert store.texts(again)[0].id > 50


def test_a_reader_that_keeps_removed_texts_in_the_log_is_told_of(
    store: LabelStore,
    project: Project,
    other: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.labelling.sql_storage._BUSY", 0.1)
    other.execute("BEGIN")
    other.execute("SELECT COUNT(*) FROM labels").fetchone()
    with pytest.raises(StorageError, match="another program is reading it"):
        store.remove(project)
    other.execute("COMMIT")
    assert store.projects() == []


def test_only_the_owner_may_read_the_file(
    store: LabelStore, project: Project, tmp_path: Path
) -> None:
    assert (tmp_path / "labels/labels.db").stat().st_mode & 0o077 == 0

"""The storage of corrections: what goes in, what comes out, and what is left of it afterwards."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import polars as pl
import pytest

from pipelines.config.settings import Serving, Settings
from pipelines.errors import StorageError
from pipelines.labelling import feedback
from pipelines.labelling.candidates import candidates_csv
from pipelines.labelling.feedback import Correction, FeedbackStore, candidates

CANARY = "canarybird"
DAY = 24 * 60 * 60
Open = Callable[..., FeedbackStore]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feedback" / "feedback.db"


@pytest.fixture
def open_store(tmp_path: Path, file: Path) -> Open:
    def open_store(**changes: object) -> FeedbackStore:
        serving = Serving(feedback_storage=f"sqlite:///{file}")
        changed = msgspec.structs.replace(serving, **changes)
        return FeedbackStore(Settings(root=tmp_path, serving=changed))

    return open_store


@pytest.fixture
def store(open_store: Open) -> FeedbackStore:
    return open_store()


def add(store: FeedbackStore, text: str, key: str = "") -> Correction:
    return store.add(text, "POSITIVE", "NEGATIVE", "reviews-v1", key)


def texts(store: FeedbackStore) -> set[str]:
    return {each.text for each in store.corrections()}


def files_with(canary: str, folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if canary.encode() in path.read_bytes()]


def test_a_correction_is_read_as_it_was_sent(store: FeedbackStore) -> None:
    sent = add(store, 'Grüße, "good" 👍\n=1+1', "review 7")
    assert store.corrections() == [sent]
    assert sent.until.timestamp() - sent.at.timestamp() == pytest.approx(90 * DAY)
    # PostgreSQL cannot store it.
    assert add(store, "a\0b").text == "a\ufffdb"


def test_only_the_owner_may_read_the_file(store: FeedbackStore, file: Path) -> None:
    assert not store.may_hold_texts
    add(store, "good")
    assert store.may_hold_texts
    assert file.stat().st_mode & 0o077 == 0


def test_a_repeated_request_is_stored_once(store: FeedbackStore) -> None:
    assert add(store, "good", "7") == add(store, "good", "7")
    add(store, "bad", "7")
    add(store, "good")
    add(store, "good")
    assert [each.key for each in store.corrections()].count("7") == 2
    assert len(store.corrections()) == 4


def test_a_full_storage_takes_no_more(open_store: Open) -> None:
    store = open_store(feedback_max_bytes=5_000)
    add(store, "ü" * 2_000)
    with pytest.raises(StorageError, match=r"full.*olens feedback purge"):
        add(store, "ü" * 1_000)
    add(store, "short")


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_purged_text_is_in_no_file_of_the_database(
    store: FeedbackStore, file: Path, journal: str
) -> None:
    add(store, "first")
    with closing(sqlite3.connect(file)) as other:
        # With a write-ahead log, a reader of another program keeps that file open.
        other.execute(f"PRAGMA journal_mode = {journal}")
        other.execute("SELECT COUNT(*) FROM feedback").fetchone()
        for number in range(20):
            add(store, f"{CANARY} {number} " + "word " * (number**3), f"{CANARY} key {number}")
            add(store, f"kept {number}")
        assert files_with(CANARY, file.parent)

        assert store.purge(containing=CANARY.upper()) == 20

        assert files_with(CANARY, file.parent) == []
        assert files_with("kept 19", file.parent) == [file.name]
    assert texts(store) == {"first", *(f"kept {number}" for number in range(20))}


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"ids": ["none"], "keys": ["none", ""], "containing": "none"}, {"one", "Two"}),
        ({"keys": ["k"]}, {"Two"}),
        ({"containing": "tWO"}, {"one"}),
        ({"older_than_days": 1}, {"Two"}),
        ({"older_than_days": 3}, {"one", "Two"}),
        ({"older_than_days": 0}, set()),
        ({"everything": True}, set()),
    ],
)
def test_purge_deletes_what_was_named(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch, chosen: dict, left: set[str]
) -> None:
    now = time.time()
    monkeypatch.setattr(feedback, "time", lambda: now - 2 * DAY)
    add(store, "one", "k")
    monkeypatch.undo()
    add(store, "Two")

    assert store.purge(**chosen) == 2 - len(left)
    assert texts(store) == left


def test_a_text_is_kept_no_longer_than_was_said(
    open_store: Open, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    add(open_store(feedback_days=5), CANARY)
    monkeypatch.setattr(feedback, "time", lambda: now + 3 * DAY)
    assert open_store(feedback_days=5).delete_expired() == 0
    # The settings may shorten the time that was said, but not make it longer.
    assert open_store(feedback_days=2).corrections() == []
    assert files_with(CANARY, file.parent) == []
    monkeypatch.setattr(feedback, "time", lambda: now)
    add(open_store(feedback_days=1), CANARY)
    monkeypatch.setattr(feedback, "time", lambda: now + 1.1 * DAY)
    assert open_store(feedback_days=100).delete_expired() == 1
    assert files_with(CANARY, file.parent) == []


def test_what_a_sender_takes_back_is_rewritten_later(store: FeedbackStore, file: Path) -> None:
    sent = add(store, CANARY)
    assert store.delete(sent.id)
    assert not store.delete(sent.id)
    assert store.delete_expired() == 0
    assert files_with(CANARY, file.parent) == []


def test_a_file_that_is_no_database_is_explained(store: FeedbackStore, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("no database " * 100)
    with pytest.raises(StorageError, match=r"feedback\.db: cannot be used"):
        add(store, "good")


def test_candidates_are_a_file_for_labelling(store: FeedbackStore, tmp_path: Path) -> None:
    sent = add(store, '=1+1, "quoted"\nnext')
    store.add("fine", "POSITIVE", "POSITIVE", "reviews-v1")
    found = candidates(store.corrections())
    (tmp_path / "plain.csv").write_bytes(candidates_csv(found))
    (tmp_path / "sheet.csv").write_bytes(candidates_csv(found, for_spreadsheet=True))

    rows = pl.read_csv(tmp_path / "plain.csv").sort("reason").rows()
    assert rows[1] == (sent.text, "NEGATIVE", "POSITIVE", "corrected", f"feedback {sent.id}")
    assert rows[0][:4] == ("fine", "POSITIVE", "POSITIVE", "confirmed")
    assert f"'{sent.text}" in pl.read_csv(tmp_path / "sheet.csv")["text"].to_list()

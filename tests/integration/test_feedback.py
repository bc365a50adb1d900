"""Corrections in SQLite and in PostgreSQL: several writers at once, the commands, and the purge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from pipelines.config.settings import load_settings
from pipelines.labelling.feedback import FeedbackStore
from tests.integration.commands import Olens
from tests.integration.services import postgres_server

CANARY = "canarybird"


class Place(NamedTuple):
    """Where corrections are."""

    uri: str
    files: Callable[[], Iterator[Path]]
    """The files of the database, on the disk as they are by now."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        folder = tmp_path / "kept"
        yield Place(f"sqlite:///{folder}/feedback.db", folder.iterdir)
        return
    import psycopg2

    with postgres_server("olens", "--auth=trust") as server:
        uri = f"postgresql+psycopg2://olens@127.0.0.1:{server.port}/postgres"

        def files() -> Iterator[Path]:
            connection = psycopg2.connect(uri.replace("+psycopg2", ""))
            connection.autocommit = True
            connection.cursor().execute("CHECKPOINT")
            connection.close()
            return (path for path in (server.socket / "data" / "base").rglob("*") if path.is_file())

        yield Place(uri, files)


def is_kept(canary: str, place: Place) -> bool:
    return any(canary.encode() in path.read_bytes() for path in place.files())


def test_the_road_of_corrections(
    place: Place, olens: Olens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLENS_ROOT", str(tmp_path))
    monkeypatch.setenv("OLENS_SERVING__FEEDBACK_STORAGE", place.uri)
    settings = load_settings()

    def add(number: int) -> None:
        # A store of its own, as another worker has: all make the table.
        text = f"{CANARY} {number}" if number % 2 else f"kept\0 {number}"
        FeedbackStore(settings).add(text, "POSITIVE", "NEGATIVE", "reviews-v1", f"key {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))

    listed = json.loads(olens("feedback", "list", "--json").out)
    assert len(listed) == 40
    assert "30 older ones" in olens("feedback", "list", "--limit", "10").message
    assert olens("feedback", "purge").code == 2
    assert is_kept(CANARY, place)

    assert "20 corrections are deleted" in olens("feedback", "purge", "--containing", CANARY).out
    assert not is_kept(CANARY, place)
    assert is_kept("kept", place)

    output = tmp_path / "corrections.csv"
    assert olens("feedback", "export", "--output", str(output)).code == 0
    rows = pl.read_csv(output)
    assert rows.columns == ["text", "label", "suggestion", "reason", "source"]
    assert set(rows["text"]) == {f"kept\ufffd {number}" for number in range(0, 40, 2)}
    assert "1 corrections are deleted" in olens("feedback", "purge", "--key", "key 2").out
    newest = FeedbackStore(settings).corrections()[0]
    assert "1 corrections are deleted" in olens("feedback", "purge", newest.id).out
    assert "18 corrections are deleted" in olens("feedback", "purge", "--all").out
    assert olens("feedback", "list", "--json").out.strip() == "[]"

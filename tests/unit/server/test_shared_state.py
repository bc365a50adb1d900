from __future__ import annotations

from pathlib import Path

from opinionlens_server.shared_state import SharedState


def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    one, other = SharedState(tmp_path), SharedState(tmp_path)
    with one.writing() as writer:
        writer.execute("INSERT INTO failures VALUES ('a', 1.0)")
        with other.reading() as reader:
            # With BEGIN IMMEDIATE, this waits for five seconds and fails.
            assert reader.execute("SELECT * FROM failures").fetchall() == []
    with other.reading() as reader:
        assert reader.execute("SELECT * FROM failures").fetchall() == [("a", 1.0)]

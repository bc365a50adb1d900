"""The label store in SQLite and PostgreSQL: people at the same time, and kills at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.labelling.store import LabelStore
from tests.integration.services import postgres
from tests.support import PATIENCE

KILLS = 20
TEXTS = 2_000

# Labels text after text, and says which once each is stored.
PERSON = """
import sys
from pipelines.labelling.store import LabelStore, NewLabel
uri, name = sys.argv[1:3]
store = LabelStore(uri)
project = store.project("pile")
texts = [text.id for text in store.texts(project)]

def unseen(shown):
    taken = {label.text for label in store.labels(project)} | shown
    return next(text for text in texts if text not in taken)

print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    text = store.shown(project, name, unseen)
    store.put(project, [NewLabel(text=text, annotator=name, answer="a", note="n")])
    print(text, flush=True)
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/labels.db"
    else:
        with postgres() as address:
            yield address


@pytest.fixture
def store(uri: str) -> LabelStore:
    store = LabelStore(uri)
    project = store.create("pile", ("a", "b"))
    store.add_texts(project, ((place, f"text {place}") for place in range(TEXTS)))
    return store


def person(uri: str, name: str, labels: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PERSON, uri, name, str(labels)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def said(process: subprocess.Popen[str]) -> list[int]:
    out, _ = process.communicate(timeout=PATIENCE)
    return [int(line) for line in out.splitlines() if line.isdecimal()]


def test_three_people_at_once_do_not_get_the_same_texts(uri: str, store: LabelStore) -> None:
    processes = [person(uri, name, 40) for name in ("ann", "bob", "cat")]
    told = [said(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    labels = store.labels(store.project("pile"))
    assert len({label.text for label in labels}) == len(labels) == 120
    assert {name: sum(label.annotator == name for label in labels) for name in ("ann", "bob")} == {
        "ann": 40,
        "bob": 40,
    }
    assert sorted(text for each in told for text in each) == sorted(each.text for each in labels)


def test_kills_lose_no_label_that_was_acknowledged(uri: str, store: LabelStore) -> None:
    told: list[int] = []
    for _ in range(KILLS):
        process = person(uri, "ann", TEXTS)
        assert process.stdout is not None
        told.append(int(process.stdout.readline()))
        time.sleep(random.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        told += said(process)
    assert len(set(told)) == len(told) >= KILLS
    labels = store.labels(store.project("pile"))
    assert set(told) <= {label.text for label in labels}
    # A label that was stored when the process died before it could say so.
    assert len(labels) - len(told) <= KILLS
    assert {(label.answer, label.note) for label in labels} == {("a", "n")}


@pytest.mark.postgres
def test_a_database_that_was_started_anew_is_used_again() -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    with postgres() as address:
        store = LabelStore(address)
        project = store.create("pile", ("a", "b"))
        store.add_texts(project, [(1, "kept"), (2, "removed")])
        with closing(psycopg2.connect(address.replace("+psycopg2", ""))) as connection:
            connection.cursor().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        assert store.count(project) == 2

        with pytest.raises(InputError, match="already"):  # and its transaction is undone
            store.create("pile", ("a", "b"))
        store.remove(project, [store.texts(project)[1].id])
        assert [text.text for text in store.texts(project)] == ["kept"]
        store.remove(project)
        assert store.projects() == []

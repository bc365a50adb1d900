"""Corrections over HTTP and on the page: off by default, with consent, and told to nobody else."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.security.sessions import SESSION_COOKIE
from pipelines.config.settings import Settings
from pipelines.labelling import feedback
from pipelines.labelling.feedback import FeedbackStore
from tests.classes import SENTIMENTS, fused
from tests.support import wait_for
from tests.unit.server.conftest import Install, load_counting_scorer
from tests.unit.server.observability.test_logs import log  # noqa: F401

FEEDBACK = "/api/v1/feedback"
CANARY = "canarybird"
ASKED = 'id="feedback"'
GOOD = {"text": "good", "label": "NEGATIVE"}
HTMX = {"HX-Request": "true"}
Client = TestClient[Litestar]
Serve = Callable[..., Client]


@pytest.fixture
def serve(settings: Settings, install: Install, tmp_path: Path) -> Serve:
    """The service with feedback: ``serve(load=..., feedback_access="admin")``."""
    install(1, activate=True)

    def serve(load: Callable = load_counting_scorer, **changes: object) -> Client:
        return TestClient(
            create_app(with_feedback(settings, tmp_path, **changes), load),
            raise_server_exceptions=False,
        )

    return serve


def with_feedback(settings: Settings, folder: Path, **changes: object) -> Settings:
    ours = {"feedback": True, "feedback_storage": f"sqlite:///{folder}/kept/feedback.db"}
    serving = msgspec.structs.replace(settings.serving, **(ours | changes))
    return msgspec.structs.replace(settings, serving=serving)


@pytest.fixture
def client(serve: Serve) -> Iterator[Client]:
    with serve() as client:
        yield client


@pytest.fixture
def store(settings: Settings, tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(with_feedback(settings, tmp_path))


def test_the_admin_sees_how_many_wait_and_gets_them_as_a_file(
    client: Client, serve: Serve, tmp_path: Path
) -> None:
    sessions = client.app.state.services.sessions
    cookie = str(sessions.cookie(sessions.open("admin"), False).value)
    client.cookies.set(SESSION_COOKIE, cookie)
    assert "Nobody has yet" in client.get("/admin").text
    client.post(FEEDBACK, json={"text": CANARY, "label": "NEGATIVE"})
    client.post(FEEDBACK, json=GOOD)
    page = client.get("/admin").text
    assert "<strong>2</strong> corrections wait" in page
    assert CANARY not in page
    file = client.get("/admin/corrections.csv")
    assert file.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert {row["text"] for row in rows} == {CANARY, "good"}
    assert {row["suggestion"] for row in rows} == {"NEGATIVE"}


def test_the_admin_page_opens_without_the_database_of_corrections(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/feedback.db").write_text("no database " * 100)
    with serve() as client:
        sessions = client.app.state.services.sessions
        cookie = str(sessions.cookie(sessions.open("admin"), False).value)
        client.cookies.set(SESSION_COOKIE, cookie)
        page = client.get("/admin")
    assert page.status_code == 200
    assert "Their number is not known" in page.text
    assert str(tmp_path) not in page.text


def test_it_is_off_by_default(serve: Serve, tmp_path: Path) -> None:
    with serve(feedback=False) as client:
        assert client.post(FEEDBACK, json=GOOD).status_code == 404
        assert client.post("/feedback", data=GOOD).status_code == 404
        page = client.post("/", data={"text": "good"}).text
        assert FEEDBACK not in client.get("/schema").text
        assert FEEDBACK not in client.get("/api/v1").text
    assert "Right?" not in page
    assert "Nothing you enter is stored." in " ".join(page.split())
    assert not (tmp_path / "kept").exists()


def test_a_correction_is_stored_with_the_verdict(client: Client, store: FeedbackStore) -> None:
    answer = client.post(FEEDBACK, json={"text": "good", "label": "negative", "key": "7"})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    (stored,) = store.corrections()
    assert answer.json() == {
        "id": stored.id,
        "label": "NEGATIVE",
        "prediction": "POSITIVE",
        "model": "reviews-v1",
        "until": stored.until.isoformat().replace("+00:00", "Z"),
    }
    assert (stored.text, stored.label, stored.key) == ("good", "NEGATIVE", "7")
    assert any(FEEDBACK in route["path"] for route in client.get("/api/v1").json())


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (GOOD | {"label": "meh"}, 409, "NEGATIVE, POSITIVE"),
        (GOOD | {"text": " "}, 400, "empty"),
        (GOOD | {"text": "x" * 1001}, 413, "1,000"),
        (GOOD | {"key": "x" * 201}, 400, "200"),
        (GOOD | {"keys": "x"}, 400, "keys"),
        ({"text": "good"}, 400, "label"),
    ],
)
def test_what_cannot_be_used_is_explained_and_not_stored(
    client: Client, tmp_path: Path, body: dict[str, str], status: int, said: str
) -> None:
    answer = client.post(FEEDBACK, json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert not (tmp_path / "kept").exists()


def test_the_sender_can_take_it_back(client: Client, store: FeedbackStore) -> None:
    place = f"{FEEDBACK}/{client.post(FEEDBACK, json=GOOD).json()['id']}"
    assert client.delete(place).status_code == 204
    assert store.corrections() == []
    gone = client.delete(place)
    assert (gone.status_code, gone.json()["detail"]) == (404, "There is no such text any longer.")


def test_the_page_asks_and_says_what_happens(serve: Serve) -> None:
    with serve(feedback_days=30) as client:
        page = " ".join(client.post("/", data={"text": "</textarea>good"}).text.split())
    assert "Right?" in page
    assert "stored here for 30 days" in page
    assert "Nothing you enter is stored unless you answer" in page
    assert "</textarea>good" not in page
    assert re.findall(r'name="label" value="(\w*)"', page) == ["POSITIVE", "NEGATIVE"]


def test_the_page_thanks_and_takes_it_back(client: Client, store: FeedbackStore) -> None:
    part = client.post("/feedback", data={"text": "a\r\nb", "label": "NEGATIVE"}, headers=HTMX)
    (stored,) = store.corrections()
    assert (stored.text, stored.label) == ("a\nb", "NEGATIVE")
    assert "<html" not in part.text
    assert f"{stored.until.day} {stored.until:%B %Y}" in part.text

    whole = client.post("/feedback", data={"text": "good", "label": "POSITIVE"})
    assert "<html" in whole.text
    for each in store.corrections():
        assert each.id in part.text + whole.text
        assert "is deleted" in client.post("/feedback/withdraw", data={"id": each.id}).text
    assert store.corrections() == []


def test_of_many_classes_the_page_offers_a_list(serve: Serve, store: FeedbackStore) -> None:
    with serve(load=lambda entry: fused(classes=SENTIMENTS)) as client:
        page = unescape(client.post("/", data={"text": "word1x1 word1x2"}).text)
        form = {"text": "word1x1 word1x2", "label": "", "other": "POSITIVE"}
        client.post("/feedback", data=form)
    assert re.findall(r'<option value="(\w+)"', page) == ["NEGATIVE", "POSITIVE"]
    (stored,) = store.corrections()
    assert (stored.prediction, stored.label) == ("NEUTRAL", "POSITIVE")


def test_the_settings_may_leave_it_to_the_admin(serve: Serve, admin: dict[str, bytes]) -> None:
    with serve(feedback_access="admin") as client:
        assert client.post(FEEDBACK, json=GOOD).status_code == 401
        assert client.post(FEEDBACK, json=GOOD, headers=admin).status_code == 201
        assert ASKED not in client.post("/", data={"text": "good"}).text
        assert client.post("/feedback", data=GOOD).status_code == 401

        token = admin["Authorization"].decode().removeprefix("Bearer ")
        client.post("/sign-in", data={"secret": token}, follow_redirects=False)
        assert ASKED in client.post("/", data={"text": "good"}).text
        assert client.post("/feedback", data=GOOD).status_code == 200


def test_the_rate_limit_holds(serve: Serve) -> None:
    with serve(rate_limit=0.001, rate_burst=2) as client:
        found = [client.post(FEEDBACK, json=GOOD).status_code for _ in range(3)]
    assert found == [201, 201, 429]


def test_no_text_is_in_logs_metrics_or_other_answers(
    client: Client,
    log: io.StringIO,  # noqa: F811
    tmp_path: Path,
) -> None:
    body = {"text": f"{CANARY} good", "label": "NEGATIVE", "key": f"{CANARY} 7"}
    assert CANARY not in client.post(FEEDBACK, json=body).text
    database = tmp_path / "kept" / "feedback.db"
    assert CANARY.encode() in database.read_bytes()
    database.write_bytes(b"no database" * 100)
    broken = client.post(FEEDBACK, json=body)

    assert broken.status_code == 507
    assert str(tmp_path) not in broken.text
    said = log.getvalue() + client.get("/metrics").text + broken.text
    assert CANARY not in said


def test_a_database_that_does_not_answer_stops_no_verdict(
    serve: Serve,
    log: io.StringIO,  # noqa: F811
) -> None:
    pytest.importorskip("psycopg2")
    with serve(feedback_storage="postgresql://olens:hidden@127.0.0.1:1/none") as client:
        answer = client.post(FEEDBACK, json={"text": f"good {CANARY}", "label": "NEGATIVE"})
        assert client.post("/", data={"text": "good"}).status_code == 200
    assert answer.status_code == 503
    assert "127.0.0.1" not in answer.text
    assert "/none: cannot be used: connection" in log.getvalue()
    assert not re.search(f"hidden|{CANARY}", log.getvalue())


def test_old_texts_go_when_the_service_starts(serve: Serve, tmp_path: Path) -> None:
    with serve() as client, patch.object(feedback, "time", lambda: 1e9):
        client.post(FEEDBACK, json={"text": CANARY, "label": "NEGATIVE"})
    database = tmp_path / "kept" / "feedback.db"
    assert CANARY.encode() in database.read_bytes()
    # Even if nobody may send any more.
    with serve(feedback=False) as client:
        wait_for(lambda: CANARY.encode() not in database.read_bytes())

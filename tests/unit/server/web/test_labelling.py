"""The labelling page over a small model: what people see, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.security.sessions import SESSION_COOKIE, Role
from opinionlens_server.web import templating
from pipelines.config.settings import Labels, Settings
from pipelines.workflows import open_start
from pipelines.workflows.label import Labelling
from tests.support import wait_for
from tests.unit.labelling.piles import pile, start
from tests.unit.server.conftest import Install, load_counting_scorer

Client = TestClient[Litestar]
HTMX = {"HX-Request": "true"}
ANSWERS = pile(120)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    labels = Labels(storage=f"sqlite:///{tmp_path}/labels.db")
    return msgspec.structs.replace(settings, labels=labels)


@pytest.fixture
def client(
    settings: Settings, install: Install, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    monkeypatch.setattr(open_start, "open_linear", lambda settings, model: (model, start()))
    install(1, activate=True)
    with TestClient(create_app(settings, load_counting_scorer)) as client:
        yield client


def sign_in(client: Client, role: Role = "admin", name: str = "Ann") -> Client:
    sessions = client.app.state.services.sessions
    cookie = sessions.cookie(sessions.open(role, name), False)
    client.cookies.set(SESSION_COOKIE, str(cookie.value))
    return client


def upload(client: Client, **fields: str) -> str:
    content = "body\n" + "\n".join(ANSWERS)
    sent = client.post(
        "/label", files={"file": ("My reviews.csv", content)}, data=fields, follow_redirects=False
    )
    return sent.headers.get("location", unescape(sent.text))


def text_of(page: str) -> tuple[str, str]:
    """The number of the text that is shown, and the text."""
    number = re.search(r'name="text" value="(\d+)"', page)
    shown = re.search(r"data-label-text[^>]*>(.*?)</p>", page, re.DOTALL)
    assert number, page
    assert shown
    return number[1], unescape(re.sub("<[^>]+>", "", shown[1]))


def labelling(client: Client) -> Labelling:
    found: Labelling = client.app.state.services.labelling
    return found


def test_from_a_file_to_a_model_that_has_learnt(client: Client) -> None:
    sign_in(client)
    assert upload(client) == "/label/My-reviews"
    page = client.get("/label/My-reviews").text
    assert "You are Ann" in page
    assert re.search(r"The model’s guess: <strong>(Negative|Positive)</strong>", page)
    assert '<mark class="word' in page or "There is no model" not in page
    for _ in range(30):
        number, text = text_of(page)
        form = {"text": number, "answer": ANSWERS[text]}
        sent = client.post("/label/My-reviews", data=form, headers=HTMX)
        assert sent.status_code == 200
        page = sent.text
    assert "Drawn at random" in page or "The model’s guess" in page
    learning = labelling(client).open("My-reviews")
    wait_for(lambda: learning.learnt and not learning.is_learning)
    progress = client.get("/label/My-reviews/progress").text
    assert "<strong>30</strong> of 120 texts labelled" in progress
    assert re.search(r"It has learnt from 2\d labels", progress)
    assert "Of 6 texts drawn at random" in progress
    download = client.get("/label/My-reviews/labels.csv")
    assert download.text.count("Ann") == 30
    assert "My-reviews-labels.csv" in download.headers["content-disposition"]


DOUBTS = "text,label,suggestion,reason,source\n" + "".join(
    f"{text},NEGATIVE,POSITIVE,probably wrong; nearly the same text is positive in line 7,a:{row}\n"
    for row, text in enumerate(ANSWERS)
)


def test_what_a_file_of_doubts_suggests_stands_below_the_text(client: Client) -> None:
    sign_in(client)
    sent = client.post("/label", files={"file": ("doubts.csv", DOUBTS)}, follow_redirects=False)
    assert sent.headers["location"] == "/label/doubts"
    pages = []
    for _ in range(5):
        page = client.get("/label/doubts").text
        pages.append(unescape(re.sub(r"<[^>]+>|\s+", " ", page)))
        button = re.search(r"<button class=\"button button-suggested\"[^>]*>", page)
        # What is drawn at random is to be independent of what others think.
        assert bool(button) == ("Drawn at random" not in page)
        assert not button or 'value="positive"' in button[0]
        form = {"text": text_of(page)[0], "answer": "positive"}
        client.post("/label/doubts", data=form, headers=HTMX)
    said = [" ".join(each.split()) for each in pages if "Was labelled" in each]
    assert len(said) == 4
    assert "Was labelled Negative ; looks like Positive , because models" in said[0]
    assert "and nearly the same text is positive in line 7." in said[0]


def test_corrections_suggest_what_the_user_said(client: Client) -> None:
    sign_in(client)
    rows = [f"{text},POSITIVE,neutral,corrected,feedback 1" for text in ANSWERS]
    content = "\n".join(["text,label,suggestion,reason,source", *rows])
    client.post("/label", files={"file": ("corrections.csv", content)})
    page = client.get("/label/corrections").text
    # Classes are those that the file names.
    assert 'value="neutral"' in page
    assert 'value="negative"' not in page
    assert "because a user corrected the verdict" in " ".join(page.split())


def test_skipping_and_taking_back_without_javascript(client: Client) -> None:
    sign_in(client)
    upload(client, name="a", classes="negative, positive")
    first = text_of(client.get("/label/a").text)
    sent = client.post("/label/a", data={"text": first[0], "do": "skip"}, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (303, "/label/a")
    second = text_of(client.get("/label/a").text)
    assert second != first
    client.post("/label/a", data={"text": second[0], "answer": "negative", "note": "hm\r\nso"})
    page = client.post("/label/a", data={"do": "undo"}).text
    assert text_of(page) == second
    assert re.search(r'id="note"[^>]*value="hm\nso"', page)


def test_a_wrong_answer_is_explained_and_nothing_is_stored(client: Client) -> None:
    sign_in(client)
    upload(client, name="a")
    number, _ = text_of(client.get("/label/a").text)
    for form in ({"text": number, "answer": "superb"}, {"text": "x", "answer": "negative"}):
        sent = client.post("/label/a", data=form, headers=HTMX)
        assert sent.status_code == 400
        assert "There is no" in sent.text
    store = labelling(client).store
    assert store.labels(store.project("a")) == []


def test_people_are_asked_for_their_name_once(client: Client) -> None:
    upload(sign_in(client), name="a")
    sign_in(client, "client", "")
    assert "Who are you?" in client.get("/label/a").text
    refused = client.post("/label/name", data={"project": "a", "name": " "})
    assert refused.status_code == 400
    sent = client.post(
        "/label/name", data={"project": "a", "name": "Jürgen"}, follow_redirects=False
    )
    assert sent.headers["location"] == "/label/a"
    assert "You are Jürgen" in client.get("/label/a").text


def test_who_may_do_what(client: Client) -> None:
    page = client.get("/label", headers={"Accept": "text/html"}, follow_redirects=False)
    assert page.headers["location"] == "/sign-in?next=%2Flabel"
    assert upload(sign_in(client), name="a") == "/label/a"
    sign_in(client, "client", "Bob")
    assert "Only the admin" in upload(client, name="b")
    assert client.post("/label/a/model", data={"name": "mine"}).status_code == 403
    page = client.get("/label/a").text
    assert "Make a model" not in page
    number, _ = text_of(page)
    done = client.post("/label/a", data={"text": number, "answer": "negative"}, headers=HTMX)
    assert done.status_code == 200


def test_disagreements_are_settled(client: Client) -> None:
    upload(sign_in(client), name="a")
    learning = labelling(client).open("a")
    text = next(iter(learning.texts.values()))
    learning.label("Ann", text.id, "negative", "rude")
    learning.label("Bob", text.id, "positive")
    page = unescape(client.get("/label/a/disputes").text)
    assert text.text in page
    assert "rude" in page
    form = {"text": str(text.id), "answer": "negative"}
    settled = client.post("/label/a/disputes", data=form).text
    assert "Settled: Negative." in settled
    assert learning.progress().in_dispute == 0


def test_what_cannot_be_labelled_is_explained(client: Client) -> None:
    sign_in(client)
    assert client.get("/label/nothing").status_code == 400
    assert "is no name for a project" in upload(client, name="../x")
    assert "2 to 100" in upload(client, classes="one")
    empty = client.post("/label", files={"file": ("a.csv", "text\n")})
    assert empty.status_code == 400
    assert "no row" in empty.text or "no text" in empty.text


def test_where_no_model_can_be_made_the_page_says_how(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templating, "is_installed", lambda name: False)
    upload(sign_in(client), name="a")
    page = client.get("/label/a").text
    assert "Make a model of the labels" not in page
    assert "olens labels import a a-labels.csv" in page
    assert "olens adapt FILE" in client.get("/admin").text


def test_a_project_that_is_removed_meanwhile_is_explained(client: Client) -> None:
    upload(sign_in(client), name="a")
    number, _ = text_of(client.get("/label/a").text)
    labelling(client).remove("a")
    sent = client.post("/label/a", data={"text": number, "answer": "negative"}, headers=HTMX)
    assert sent.status_code == 400
    assert "There is no labelling project" in unescape(sent.text)
    upload(client, name="a")
    assert text_of(client.get("/label/a").text)[0] != number


def test_a_database_that_cannot_be_used_is_explained(
    settings: Settings, install: Install, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    labels = Labels(storage=f"sqlite:///{tmp_path}/file/labels.db")
    install(1, activate=True)
    settings = msgspec.structs.replace(settings, labels=labels)
    with TestClient(create_app(settings, load_counting_scorer)) as client:
        page = sign_in(client).get("/label", headers={"Accept": "text/html"})
        assert page.status_code == 507
        assert "set labels.storage to another" in unescape(page.text)
        assert str(tmp_path) not in page.text
        assert client.get("/health/ready").status_code == 200

from __future__ import annotations

import re
import shlex
from html import unescape

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.web.home import EXAMPLES
from pipelines.config.settings import Settings
from tests.unit.server.conftest import Install, load_counting_scorer

Client = TestClient[Litestar]
HTMX = {"HX-Request": "true"}


def test_the_page_shows_the_model_and_the_form(client: Client) -> None:
    page = client.get("/")

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "reviews-v1" in page.text
    assert '<form class="card evaluate"' in page.text
    for example in EXAMPLES:
        assert example in unescape(page.text)


def test_a_form_without_javascript_gets_the_whole_page(client: Client) -> None:
    page = client.post("/", data={"text": "good good"})

    assert page.status_code == 200
    assert page.text.startswith("<!doctype html>")
    assert "Positive" in page.text
    assert "89.1 % confidence" in page.text
    assert re.search(r"<textarea[^>]*>\s*good good</textarea>", page.text)


def test_htmx_gets_the_verdict_alone(client: Client) -> None:
    part = client.post("/", data={"text": "bad"}, headers=HTMX)

    assert "<html" not in part.text
    assert "Negative" in part.text
    assert "reviews-v1" in part.text
    assert "3 characters" in part.text


def test_an_example_is_chosen_by_its_number(client: Client) -> None:
    page = client.post("/", data={"text": "ignored", "example": "1"})

    assert f"{len(EXAMPLES[1])} characters" in page.text


@pytest.mark.parametrize("number", ["99", "-1", "x", "²", ""])
def test_an_unknown_example_leaves_the_text(client: Client, number: str) -> None:
    page = client.post("/", data={"text": "good", "example": number}, headers=HTMX)

    assert "4 characters" in page.text


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_an_empty_text_is_explained(client: Client, headers: dict[str, str]) -> None:
    page = client.post("/", data={"text": "  "}, headers=headers)

    assert page.status_code == 400
    assert "The text is empty" in page.text


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"text=%ff", 400, "not valid UTF-8"),
        ("text=ä".encode(), 400, "not valid UTF-8"),
        (b"text=" + b"x" * 1001, 413, "1,001 characters"),
        (b"text=" + b"x" * 30_000, 413, " bytes"),
        (b"&".join([b"a=1"] * 200), 400, "cannot be read"),
        (b"", 400, "empty"),
    ],
)
def test_a_form_that_cannot_be_used_is_explained(
    client: Client, body: bytes, status: int, said: str
) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = client.post("/", content=body, headers=form)

    assert page.status_code == status
    assert said in page.text


def test_texts_of_users_are_escaped(client: Client) -> None:
    page = client.post("/", data={"text": "</textarea><script>alert(1)</script>"})

    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text


def test_the_page_and_the_api_judge_the_same_text(client: Client) -> None:
    # Browsers send line ends as CR LF, whatever was pasted.
    page = client.post("/", data={"text": "one\r\ntwo"}, headers=HTMX)

    assert "7 characters" in page.text


def test_without_a_model_the_page_says_what_to_do(empty_client: Client) -> None:
    page = empty_client.get("/")
    assert page.status_code == 200
    assert "olens quickstart" in page.text
    assert "olens fetch NAME --activate" in page.text

    answer = empty_client.post("/", data={"text": "good"}, headers=HTMX)
    assert answer.status_code == 503
    assert "olens quickstart" in answer.text


def test_the_page_says_why_the_models_at_hand_do_not_answer(
    settings: Settings, install: Install
) -> None:
    install(1, name="broken", activate=True)
    with TestClient(create_app(settings, load_counting_scorer)) as client:
        assert "broken-v1 is damaged" in client.get("/").text


def test_pages_have_no_inline_or_foreign_code(client: Client) -> None:
    for page in (client.get("/"), client.post("/", data={"text": "good"})):
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", page.text)
        assert re.findall(r"<script(?![^>]*\ssrc=)", page.text) == []
        addresses = re.findall(r'(?:src|href|action|hx-[a-z]+)="(https?:[^"]*|//[^"]*)"', page.text)
        assert addresses == []


def test_static_files_are_there_and_may_be_kept(client: Client) -> None:
    page = client.get("/").text
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(addresses) == 4
    addresses += re.findall(r'(?:src|href)="(/static/vendor/[^"]+)"', client.get("/reference").text)
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["/", "/api/v1/models", "/nowhere", "/static/icon.svg", "/schema"])
def test_every_answer_has_the_security_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_a_browser_gets_errors_as_a_page(client: Client) -> None:
    page = client.get("/nowhere", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")

    for answer in (
        client.get("/nowhere"),
        client.get("/api/v1/nowhere", headers={"Accept": "text/html,*/*"}),
    ):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_curl_lines_work_as_they_stand(client: Client, admin: dict[str, bytes]) -> None:
    page = client.get("/").text
    shown = [unescape(line) for line in re.findall(r"<code>(curl [^<]+)</code>", page)]
    assert [line.count("\n") for line in shown] == [2]
    lines = [route["curl"] for route in client.get("/api/v1").json()]
    assert len(lines) == 14

    for line in [*lines, *shown]:
        status = run_curl(client, line, admin)
        # The registry is not part of this test, and the active model may not be removed.
        needs_registry = "registry" in line or "set_default" in line
        expected = {409} if "DELETE" in line else {200}
        assert needs_registry or status in expected, line


def run_curl(client: Client, line: str, admin: dict[str, bytes]) -> int:
    """What curl would do with `line`, in process."""
    words = iter(shlex.split(line.replace("\\\n", ""))[1:])
    method, url, body, query = "GET", "", None, None
    headers: dict[str, str | bytes] = {}
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body, method = next(words).encode(), "POST" if method == "GET" else method
        elif word == "--data-urlencode":
            query = dict([next(words).split("=", 1)])
        elif word != "-G":
            url = word
    if "Authorization" in headers:
        assert headers["Authorization"] == "Bearer $OLENS_SERVING__ADMIN_TOKEN"
        headers |= admin
        if "registry" in line or "set_default" in line:
            return 0
    return client.request(method, url, content=body, params=query, headers=headers).status_code


def test_about_lists_the_limits(client: Client) -> None:
    about = client.get("/api/v1/about").json()

    assert about["name"] == "OpinionLens"
    assert about["model"] == "reviews-v1"
    assert about["limits"]["max_text_length"] == 1000


def test_the_schema_documents_every_route(client: Client) -> None:
    schema = client.get("/schema").json()

    for route in client.get("/api/v1").json():
        path = route["path"].replace("{id}", "{model_id}")
        if path != "/schema":
            assert route["method"].lower() in schema["paths"][path]
    secured = schema["paths"]["/api/v1/models/active"]["put"]["security"]
    assert secured == [{"adminToken": []}]

"""Any method on any path with any headers: an answer below 500 that names no path of the server."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient

Client = TestClient[Litestar]

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")
PATHS = (
    "/",
    "/nowhere",
    "/file",
    "/file/preview",
    "/file/download",
    "/reference",
    "/theme",
    "/static/opinionlens.css",
    "/static/%00",
    "/static/../../pyproject.toml",
    "/static/" + "a" * 300,
    "/health/ready",
    "/metrics",
    "/schema",
    "/schema/nowhere.json",
    "/api/v1",
    "/api/v1/about",
    "/api/v1/inference/predict",
    "/api/v1/inference/predict?text=%ff",
    "/api/v1/inference/predict?text=good&text=bad",
    "/api/v1/inference/batch_predict",
    "/api/v1/inference/explain",
    "/api/v1/models",
    "/api/v1/models/active",
    "/api/v1/models/registry",
    "/api/v1/models/reviews-v9",
    "/api/v1/models/%00",
    "/api/v1/models/%ff",
    "/api/v1/models/" + "a" * 300,
    "/api/v1/models/..%2f..%2fetc",
    "/admin",
    "/admin/models/reviews-v9/activate",
    "/admin/comparison",
    "/admin/link/x",
    "/sign-in",
    "/sign-in?next=%00",
    "/sign-out",
    "/*",
    "/%",
    "//",
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Accept": "text/html"},
    {"HX-Request": "true"},
    {"HX-Request": "true", "Triggering-Event": "{"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Host": "testserver.local:x"},
    {"Host": "testserver.local:99999999"},
    {"Host": "[::1"},
    {"Host": ""},
    {"Content-Type": "application/json"},
    {"Content-Type": "multipart/form-data"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": "application/x-www-form-urlencoded; charset=klingon"},
    {"Cookie": "olens_session=x; olens_notice=%00; theme=\x7f"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer \xff"},
    {"X-API-Key": "\xff"},
    {"X-Request-ID": "\xe9"},
    {"Range": "bytes=5-1"},
    {"If-None-Match": '"'},
)
BODIES = (
    b"",
    b"x",
    b"{",
    b"[" * 2_000,
    b'{"text": "\\ud800"}',
    b'{"text": null}',
    b'["good", null]',
    b"\xff",
    b"text=%ff",
    b"&" * 200,
    b"--x\r\nContent-Disposition: form-data; name=file; filename=a.csv\r\n\r\nt\r\n\x00\r\n--x--",
)


def send(client: Client, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
    # Bytes: httpx refuses to send other headers.
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return client.request(method, path, headers=encoded, content=body, follow_redirects=False)


def check(answer: Response, root: Path, method: str) -> None:
    assert answer.status_code < 500, f"{method} {answer.url}"
    assert str(root) not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    if method == "HEAD":
        assert answer.content == b""


@pytest.fixture
def signed_off(client: Client) -> Iterator[Client]:
    yield client
    client.cookies.clear()


def test_every_path_with_every_method(signed_off: Client, tmp_path: Path) -> None:
    for path in PATHS:
        for method in METHODS:
            check(send(signed_off, method, path, {}, b""), tmp_path, method)


def test_random_requests(signed_off: Client, tmp_path: Path) -> None:
    # Always the same ones, so that a failure can be repeated.
    chosen = random.Random(11)
    for _ in range(600):
        request = [chosen.choice(values) for values in (METHODS, PATHS, HEADERS, BODIES)]
        try:
            answer = send(signed_off, *request)  # type: ignore[arg-type]
            check(answer, tmp_path, request[0])  # type: ignore[arg-type]
        except Exception as error:
            raise AssertionError(f"{str(request)[:300]} failed") from error


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/api/v1/models", "/static/icon.svg"])
def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    got, head = client.get(path), client.head(path)

    assert head.status_code == got.status_code == 200
    assert head.content == b""
    same = ("content-type", "cache-control", "content-security-policy")
    assert [head.headers.get(name) for name in same] == [got.headers.get(name) for name in same]


def test_head_is_counted_as_such(client: Client) -> None:
    client.head("/api/v1/about")

    counted = 'http_requests_total{method="HEAD",route="/api/v1/about",status="200"} 1.0'
    assert counted in client.get("/metrics").text


def test_head_does_not_use_up_a_link(client: Client) -> None:
    assert client.head("/admin/link/x").status_code == 405


@pytest.mark.parametrize(
    ("path", "status", "allow"),
    [
        ("/api/v1/about", 204, "GET, HEAD, OPTIONS"),
        ("/api/v1/models", 204, "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/models/x", 204, "DELETE, GET, HEAD, OPTIONS"),
        ("/admin/link/x", 204, "GET, OPTIONS"),
        ("/nowhere", 404, None),
    ],
)
def test_options(client: Client, path: str, status: int, allow: str | None) -> None:
    answer = client.options(path)

    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)


def test_a_query_that_is_not_utf_8_is_refused(client: Client) -> None:
    answer = client.get("/api/v1/inference/predict?text=caf%e9")

    assert answer.status_code == 400
    assert answer.json()["detail"] == "The query string is not valid UTF-8."


def test_an_invalid_item_of_a_batch_is_named(client: Client) -> None:
    answer = client.post("/api/v1/inference/batch_predict", json=["good", "bad", None])

    assert answer.status_code == 400
    assert "Item 2 of the body (counted from 0)" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "hint"), [('{"text": "\\ud800"}', True), ("{", False), ("{1}", False)]
)
def test_only_a_surrogate_gets_the_hint_about_surrogates(
    client: Client, body: str, hint: bool
) -> None:
    answer = client.post("/api/v1/inference/predict", content=body)

    assert answer.status_code == 400
    assert ("must come in pairs" in answer.json()["detail"]) is hint

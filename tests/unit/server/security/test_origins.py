from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from pipelines.config.settings import Settings
from tests.unit.server.conftest import load_counting_scorer

MakeClient = Callable[..., TestClient[Litestar]]


@pytest.fixture
def make_client(settings: Settings) -> MakeClient:
    def make(*allowed: str, host: str = "127.0.0.1") -> TestClient[Litestar]:
        serving = msgspec.structs.replace(settings.serving, host=host, allowed_hosts=allowed)
        changed = msgspec.structs.replace(settings, serving=serving)
        return TestClient(create_app(changed, load_counting_scorer))

    return make


@pytest.mark.parametrize(
    ("allowed", "listening", "host", "status"),
    [
        ([], "127.0.0.1", "localhost:8000", 200),
        ([], "127.0.0.1", "LOCALHOST", 200),
        ([], "127.0.0.1", "127.0.0.1:8000", 200),
        ([], "127.0.0.1", "[::1]:8000", 200),
        ([], "::1", "[::1]", 200),
        ([], "127.0.0.1", "evil.example", 400),
        ([], "127.0.0.1", "127.0.0.1.evil.example", 400),
        ([], "127.0.0.1", "localhost.evil.example:8000", 400),
        ([], "localhost", "evil.example", 400),
        ([], "0.0.0.0", "anything.example", 200),
        (["olens.example"], "0.0.0.0", "olens.example", 200),
        (["olens.example"], "0.0.0.0", "Olens.Example:8443", 200),
        (["olens.example"], "0.0.0.0", "olens.example.", 200),
        (["olens.example"], "0.0.0.0", "localhost", 200),
        (["olens.example"], "0.0.0.0", "evil-olens.example", 400),
        (["olens.example"], "0.0.0.0", "a.olens.example", 400),
        (["olens.example"], "0.0.0.0", "", 400),
        (["*.example.org"], "0.0.0.0", "a.b.example.org", 200),
        (["*.example.org"], "0.0.0.0", "example.org", 400),
        (["*.example.org"], "0.0.0.0", "evilexample.org", 400),
        (["*"], "127.0.0.1", "anything.example", 200),
    ],
)
def test_by_which_names_it_may_be_asked(
    make_client: MakeClient, allowed: list[str], listening: str, host: str, status: int
) -> None:
    answer = make_client(*allowed, host=listening).get("/health", headers={"Host": host})

    assert answer.status_code == status
    if status == 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "serving.allowed_hosts" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(
    make_client: MakeClient, headers: dict[str, str], status: int
) -> None:
    client = make_client()
    answer = client.post("/theme", headers={"Host": "localhost", **headers}, data={})
    assert (answer.status_code == 403) is (status == 403)

    looked = client.get("/health", headers={"Host": "localhost", **headers})
    assert looked.status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost:x", "localhost:123456", "localhost:65536", "[::1", "a b", "a@b", "a/b"]
)
def test_an_invalid_host_header_is_refused(make_client: MakeClient, host: str) -> None:
    answer = make_client(host="0.0.0.0").get("/", headers={"Host": host, "Accept": "text/html"})

    assert answer.status_code == 400


def test_a_second_host_header_is_refused(make_client: MakeClient) -> None:
    both = [("Host", "localhost"), ("Host", "localhost")]
    assert make_client(host="0.0.0.0").get("/health", headers=both).status_code == 400

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from argon2 import PasswordHasher
from itsdangerous import TimestampSigner
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.security import throttle
from opinionlens_server.security.credentials import Credentials
from opinionlens_server.security.sessions import SESSION_COOKIE
from opinionlens_server.security.throttle import Throttle
from opinionlens_server.shared_state import LINK_SECONDS, LINKS, SharedState
from pipelines.config.settings import MLflow, Serving, Settings
from tests.unit.server.conftest import Install, load_counting_scorer

SECRET = "ein geheimes Wort, größer als nötig"
KEY = "a key of a client of ours"
Client = TestClient[Litestar]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """With the hash of a secret, and what two workers share."""
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(SECRET)
    serving = msgspec.structs.replace(
        settings.serving,
        admin_token="",
        admin_secret_hash=hashed,
        session_secret="x" * 32,
        state_folder=str(tmp_path / "state"),
    )
    mlflow = MLflow(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    return msgspec.structs.replace(settings, serving=serving, mlflow=mlflow)


@pytest.fixture
def other_worker(settings: Settings, app: Litestar) -> Iterator[Client]:
    with TestClient(create_app(settings, load_counting_scorer)) as client:
        yield client


def sign_in(client: Client, secret: str = SECRET, **fields: str) -> int:
    form = {"secret": secret, **fields}
    return client.post("/sign-in", data=form, follow_redirects=False).status_code


def test_signing_in_leads_to_the_requested_page(client: Client) -> None:
    sent = client.get("/admin", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=%2Fadmin")

    form = {"secret": SECRET, "next": "/admin"}
    entered = client.post("/sign-in", data=form, follow_redirects=False)

    assert (entered.status_code, entered.headers["location"]) == (303, "/admin")
    assert "reviews-v1" in client.get("/admin").text


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "/admin/../x", ""]
)
def test_redirects_stay_on_this_site(client: Client, target: str) -> None:
    form = {"secret": SECRET, "next": target}
    entered = client.post("/sign-in", data=form, follow_redirects=False)

    assert entered.headers["location"] == "/admin"


@pytest.mark.parametrize("secret", ["", " ", "wrong", SECRET[:-1], SECRET.upper(), "\udce4", KEY])
def test_a_wrong_secret_opens_nothing(client: Client, secret: str) -> None:
    encoded = quote(secret.encode("utf-8", "surrogatepass"))
    answer = client.post(
        "/sign-in",
        content=f"secret={encoded}".encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code in {400, 401}
    assert client.get("/admin", follow_redirects=False).status_code == 401


def test_signing_in_replaces_the_session(client: Client) -> None:
    assert sign_in(client) == 303
    before = client.cookies[SESSION_COOKIE]
    assert sign_in(client) == 303

    assert client.cookies[SESSION_COOKIE] != before


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_cookie_is_for_this_service_only(settings: Settings, scheme: str) -> None:
    app = create_app(settings, load_counting_scorer)
    with TestClient(app, base_url=f"{scheme}://testserver.local") as client:
        answer = client.post("/sign-in", data={"secret": SECRET}, follow_redirects=False)
        cookie = answer.headers["set-cookie"].lower()

    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert f"max-age={settings.serving.session_lifetime}" in cookie
    assert ("secure" in cookie) is (scheme == "https")


def test_cookies_can_be_kept_to_https(settings: Settings) -> None:
    serving = msgspec.structs.replace(settings.serving, cookie_secure=True)
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app) as client:
        answer = client.post("/sign-in", data={"secret": SECRET}, follow_redirects=False)
        assert "secure" in answer.headers["set-cookie"].lower()


def test_an_expired_session_is_explained(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sign_in(client) == 303
    later = int(time.time()) + 9 * 3600
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: later)

    page = client.get("/admin", headers={"Accept": "text/html"})
    assert page.url.path == "/sign-in"
    assert "Your session has ended" in page.text


def test_htmx_is_sent_to_the_form_with_the_whole_page(client: Client) -> None:
    answer = client.get("/admin/service", headers={"HX-Request": "true"})

    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/sign-in?next=%2Fadmin"


def test_signing_out_ends_the_session_in_every_worker(client: Client, other_worker: Client) -> None:
    assert sign_in(client) == 303
    session = client.cookies[SESSION_COOKIE]
    other_worker.cookies.set(SESSION_COOKIE, session)
    page = other_worker.get("/admin")
    assert page.status_code == 200

    left = client.post("/sign-out", follow_redirects=False)

    assert (left.status_code, left.headers["location"]) == (303, "/")
    assert SESSION_COOKIE not in client.cookies
    assert other_worker.get("/admin", follow_redirects=False).status_code == 401


def test_other_credentials_end_all_sessions(settings: Settings, client: Client) -> None:
    assert sign_in(client) == 303
    serving = msgspec.structs.replace(settings.serving, admin_token="another one")
    changed = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(changed) as after:
        after.cookies.set(SESSION_COOKIE, client.cookies[SESSION_COOKIE])
        assert after.get("/admin", follow_redirects=False).status_code == 401


class TestThrottling:
    def test_guessing_ends_in_all_workers(self, client: Client, other_worker: Client) -> None:
        for _ in range(throttle.FAILURES):
            assert sign_in(client, "wrong") == 401

        for worker in (client, other_worker):
            # Even the right one: otherwise one could go on guessing.
            form = {"secret": SECRET}
            answer = worker.post("/sign-in", data=form)
            assert answer.status_code == 429
            assert 0 < int(answer.headers["retry-after"]) <= throttle.WINDOW
            assert "Too many wrong secrets" in answer.text
            header = {"Authorization": f"Bearer {SECRET}".encode()}
            assert worker.get("/api/v1/models/registry", headers=header).status_code == 429

    def test_the_api_counts_as_well(self, client: Client) -> None:
        header = {"Authorization": "Bearer wrong"}
        found = [
            client.get("/api/v1/models/registry", headers=header).status_code
            for _ in range(throttle.FAILURES + 1)
        ]
        assert found == [401] * throttle.FAILURES + [429]
        assert sign_in(client) == 429

    def test_requests_without_a_secret_do_not_count(self, client: Client) -> None:
        for _ in range(throttle.FAILURES + 1):
            assert client.get("/api/v1/models/registry").status_code == 401
        assert sign_in(client) == 303

    def test_signing_in_forgets(self, client: Client) -> None:
        for _ in range(2):
            for _ in range(throttle.FAILURES - 1):
                assert sign_in(client, "wrong") == 401
            assert sign_in(client) == 303
            client.cookies.clear()

    def test_it_is_over_after_a_while(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(throttle.FAILURES):
            sign_in(client, "wrong")
        later = time.time() + throttle.WINDOW + 1
        monkeypatch.setattr(throttle.time, "time", lambda: later)
        assert sign_in(client) == 303

    def test_another_client_may_go_on(self) -> None:
        throttled = Throttle(SharedState())
        for _ in range(throttle.FAILURES):
            throttled.count_failure("2001:db8::1")
        throttled.check("2001:db8:0:1::1")
        with pytest.raises(Exception, match="Too many"):
            throttled.check("2001:db8::ffff")


class TestLink:
    @pytest.fixture
    def make_link(self, settings: Settings) -> Callable[..., str]:
        def make(age: float = 0) -> str:
            state = SharedState(Path(settings.serving.state_folder))
            token = state.make_link()
            (file,) = (state.folder / LINKS).iterdir()
            os.utime(file, (time.time() - age, time.time() - age))
            return f"/admin/link/{token}"

        return make

    def test_it_works_once_in_all_workers(
        self, client: Client, other_worker: Client, make_link: Callable[..., str]
    ) -> None:
        link = make_link()
        entered = client.get(link, follow_redirects=False)
        assert (entered.status_code, entered.headers["location"]) == (303, "/admin")
        assert client.get("/admin").status_code == 200

        for worker in (client, other_worker):
            worker.cookies.clear()
            again = worker.get(link, follow_redirects=False)
            assert again.status_code == 403
            assert "used already" in again.text
            assert worker.get("/admin", follow_redirects=False).status_code == 401

    def test_it_does_not_work_for_long(self, client: Client, make_link: Callable[..., str]) -> None:
        link = make_link(age=LINK_SECONDS + 1)
        assert client.get(link, follow_redirects=False).status_code == 403

    @pytest.mark.parametrize("token", ["x", "..", "%2e%2e%2fstate.db", "%00", "a" * 5000])
    def test_an_invented_link_does_not_work(
        self, client: Client, make_link: Callable[..., str], token: str
    ) -> None:
        make_link()
        answer = client.get(f"/admin/link/{token}", follow_redirects=False)
        assert answer.status_code in {401, 403, 404}
        assert SESSION_COOKIE not in client.cookies or client.get("/admin").url.path == "/admin"
        assert client.get("/admin", follow_redirects=False).status_code == 401


class TestKeys:
    @pytest.fixture(params=["plain", "hashed"])
    def keyed(
        self, settings: Settings, install: Install, request: pytest.FixtureRequest
    ) -> Iterator[Client]:
        install(1, activate=True)
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        key = KEY if request.param == "plain" else f"sha256:{digest}"
        serving = msgspec.structs.replace(settings.serving, api_keys=(key,))
        app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
        with TestClient(app) as client:
            yield client

    @pytest.mark.parametrize(
        ("header", "status"),
        [
            ({}, 401),
            ({"X-API-Key": ""}, 401),
            ({"X-API-Key": KEY[:-1]}, 401),
            ({"X-API-Key": KEY}, 200),
            ({"Authorization": f"Bearer {KEY}"}, 200),
            ({"Authorization": f"Basic {KEY}"}, 401),
            ({"Authorization": f"Bearer {SECRET}".encode()}, 200),
        ],
    )
    def test_predicting_needs_a_key(
        self, keyed: Client, header: dict[str, str], status: int
    ) -> None:
        answer = keyed.post("/api/v1/inference/predict", json={"text": "good"}, headers=header)
        assert answer.status_code == status
        if status == 401:
            assert "X-API-Key" in answer.json()["detail"] or "Bearer" in answer.json()["detail"]
            assert answer.headers["www-authenticate"] == "Bearer"

    def test_a_key_opens_the_page_but_not_the_admin_page(self, keyed: Client) -> None:
        sent = keyed.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
        assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=%2F")

        assert sign_in(keyed, KEY, next="/admin") == 303
        assert "Positive" in keyed.post("/", data={"text": "good"}).text
        assert keyed.get("/admin", follow_redirects=False).status_code == 401

    def test_the_curl_lines_carry_it(self, keyed: Client) -> None:
        lines = [route["curl"] for route in keyed.get("/api/v1").json()]
        judging = [line for line in lines if "/inference/" in line]
        assert judging
        assert all('-H "X-API-Key: $API_KEY"' in line for line in judging)
        assert not any("$API_KEY" in line for line in lines if line not in judging)

    def test_the_hash_is_no_key(self, keyed: Client) -> None:
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        for key in (digest, f"sha256:{digest}"):
            answer = keyed.post(
                "/api/v1/inference/predict", json={"text": "good"}, headers={"X-API-Key": key}
            )
            assert answer.status_code == 401


def test_without_an_admin_the_form_says_how_to_become_one(
    settings: Settings, install: Install
) -> None:
    install(1, activate=True)
    serving = Serving(allowed_hosts=("testserver.local",))
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app) as client:
        page = client.get("/sign-in").text
        assert "olens config hash-secret" in page
        assert 'type="password"' not in page
        # There is no secret to be right about, not even the empty one.
        for secret in ("", "admin"):
            assert client.post("/sign-in", data={"secret": secret}).status_code == 401


@pytest.mark.parametrize("state_is_kept", [True, False])
def test_signing_out_survives_a_restart(
    settings: Settings, client: Client, tmp_path: Path, state_is_kept: bool
) -> None:
    sign_in(client)
    stolen = dict(client.cookies)
    client.post("/sign-out")
    if not state_is_kept:
        shutil.rmtree(tmp_path / "state")
        time.sleep(1.1)  # cookies know their age in seconds
    with TestClient(create_app(settings, load_counting_scorer), cookies=stolen) as restarted:
        assert restarted.get("/admin", follow_redirects=False).status_code == 401
        assert sign_in(restarted) == 303
        assert restarted.get("/admin").status_code == 200


def test_a_service_without_secrets_has_no_admin() -> None:
    credentials = Credentials(Serving(), Throttle(SharedState()))
    assert not credentials.has_admin
    for secret in (b"", b"admin"):
        assert asyncio.run(credentials.is_admin(secret, "")) is False

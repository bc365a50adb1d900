"""Who may do what: every route in every situation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from argon2 import PasswordHasher
from itsdangerous import TimestampSigner
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.sessions import CSRF_FIELD, SESSION_COOKIE, Sessions
from pipelines.manifest import write_manifest
from pipelines.registry.cache import ModelCache
from pipelines.registry.versions import RegisteredVersion
from pipelines.settings import MLflow, Paths, Serving, Settings
from tests.unit.server.conftest import load_counting_scorer

KEY = "a key of a client of ours"
SECRET = "the secret of the admin"
TOKEN = "the token of the admin"


class Route(NamedTuple):
    """What a route is for, and how it answers those who may use it."""

    kind: str
    status: int
    request: Mapping[str, Any] = {}


OPEN = Route("open", 200)
TEXT = {"json": {"text": "good"}}
FORM = {"data": {"text": "good"}}
FILE = {"files": {"file": ("rows.txt", b"good\nbad\n", "text/plain")}}

ROUTES = {
    "GET /": Route("page", 200),
    "POST /": Route("page", 200, FORM),
    "POST /file": Route("page", 200, FILE),
    "POST /file/download": Route("page", 200, FILE),
    "POST /theme": Route("open", 303, {"data": {"theme": "dark"}}),
    "GET /static/icon.svg": OPEN,
    "GET /health": OPEN,
    "GET /health/ready": OPEN,
    "GET /metrics": OPEN,
    "GET /schema": OPEN,
    "GET /schema/openapi.json": OPEN,
    "GET /schema/openapi.yaml": OPEN,
    "GET /schema/openapi.yml": OPEN,
    "GET /api/v1": OPEN,
    "GET /api/v1/about": OPEN,
    "GET /api/v1/metrics": OPEN,
    "GET /api/v1/inference/predict": Route("key", 200, {"params": {"text": "good"}}),
    "POST /api/v1/inference/predict": Route("key", 200, TEXT),
    "POST /api/v1/inference/batch_predict": Route("key", 200, {"json": ["good"]}),
    "POST /api/v1/inference/explain": Route("key", 200, TEXT),
    "GET /api/v1/models": OPEN,
    "GET /api/v1/models/active": OPEN,
    "GET /api/v1/models/reviews-v1": OPEN,
    "GET /api/v1/models/registry": Route("admin", 200),
    "POST /api/v1/models": Route("admin", 404, {"json": {"model_name": "nothing"}}),
    "PUT /api/v1/models/active": Route("admin", 200, {"json": {"id": "reviews-v1"}}),
    "DELETE /api/v1/models/reviews-v1": Route("admin", 409),
    "GET /admin": Route("panel", 200),
    "GET /admin/service": Route("panel", 200),
    "GET /admin/models": Route("panel", 200),
    "GET /admin/registry": Route("panel", 200),
    "GET /admin/versions": Route("panel", 200),
    "GET /admin/fetches": Route("panel", 200),
    "POST /admin/fetches": Route("panel", 303, {"data": {"model_name": "nothing"}}),
    "POST /admin/models/reviews-v1/activate": Route("panel", 303),
    "POST /admin/models/reviews-v1/remove": Route("panel", 303),
    "GET /admin/link/forged": Route("open", 403),
    "GET /sign-in": OPEN,
    "POST /sign-in": Route("form", 303, {"data": {"secret": SECRET}}),
    "POST /sign-out": Route("form", 303),
}

SITUATIONS = {
    # The answers that differ from those of the table above, by what a route is for.
    "anonymous": {"page": 303, "key": 401, "admin": 401, "panel": 303, "form": 403},
    "API key": {"admin": 401, "panel": 303, "form": 403},
    "admin token": {"page": 303, "panel": 303, "form": 403},
    "admin secret": {"page": 303, "panel": 303, "form": 403},
    "admin session": {"admin": 401},
    "client session": {"admin": 401, "panel": 303},
    "expired session": {"page": 303, "key": 401, "admin": 401, "panel": 303, "form": 403},
    "ended session": {"page": 303, "key": 401, "admin": 401, "panel": 303, "form": 403},
    "forged session": {"page": 303, "key": 401, "admin": 401, "panel": 303, "form": 403},
    "wrong form token": {"admin": 401, "form": 403},
    "foreign host": dict.fromkeys(["open", "page", "key", "admin", "panel", "form"], 400),
    "other site": {},
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    root = tmp_path_factory.mktemp("project")
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    settings = Settings(
        root=root,
        paths=Paths(models=root / "models"),
        mlflow=MLflow(tracking_uri=f"sqlite:///{root}/mlflow.db"),
        serving=Serving(
            admin_token=TOKEN,
            admin_secret_hash=hasher.hash(SECRET),
            api_keys=(KEY,),
            allowed_hosts=("testserver.local",),
        ),
    )
    _install(settings.paths.models)
    return create_app(settings, load_counting_scorer)


def _install(folder: Path) -> None:
    def download(model: Path) -> None:
        (model / "MLmodel").write_text("flavors: {}\n")
        write_manifest(model)

    version = RegisteredVersion(
        name="reviews", version=1, created=datetime(2026, 5, 4, tzinfo=UTC), source="test"
    )
    cache = ModelCache(folder)
    cache.install(version, download, lambda entry: None)
    cache.activate("reviews-v1")


@pytest.fixture(scope="module")
def client(app: Litestar) -> Iterator[TestClient[Litestar]]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def headers_for(situation: str, sessions: Sessions) -> tuple[dict[str, str], str]:
    """The headers of a request, and the token of its form."""
    headers = {"Accept": "text/html,*/*"}
    if situation == "API key":
        return headers | {"X-API-Key": KEY}, "none"
    if situation in {"admin token", "admin secret"}:
        secret = TOKEN if situation == "admin token" else SECRET
        return headers | {"Authorization": f"Bearer {secret}"}, "none"
    if situation == "anonymous":
        return headers, "none"
    session = sessions.open("client" if situation == "client session" else "admin")
    cookie, token = sessions.cookie(session, False).value, sessions.csrf_token(session)
    if situation == "expired session":
        long_ago = int(time.time()) - 9 * 3600
        with patch.object(TimestampSigner, "get_timestamp", lambda self: long_ago):
            cookie = sessions.cookie(session, False).value
    elif situation == "ended session":
        sessions.end(session)
    elif situation == "forged session":
        cookie = f"{cookie}"[:-4] + "AAAA"
    elif situation == "wrong form token":
        token = sessions.csrf_token(sessions.open("admin"))
    headers["Cookie"] = f"{SESSION_COOKIE}={cookie}"
    if situation in {"foreign host", "other site"}:
        # Whoever is tricked may do everything.
        headers |= {"Authorization": f"Bearer {TOKEN}", "X-API-Key": KEY}
        foreign = {"Host": "evil.example"}
        headers |= foreign if situation == "foreign host" else {"Origin": "https://evil.example"}
    return headers, token


def expected(situation: str, method: str, route: Route) -> int:
    if situation == "other site" and method != "GET":
        return 403
    if situation == "wrong form token" and route.kind == "panel" and method == "POST":
        return 403
    return SITUATIONS[situation].get(route.kind, route.status)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", ROUTES)
def test_who_may_do_what(
    app: Litestar, client: TestClient[Litestar], name: str, situation: str
) -> None:
    method, _, path = name.partition(" ")
    route = ROUTES[name]
    headers, token = headers_for(situation, app.state.sessions)
    request = dict(route.request)
    if method == "POST" and "json" not in request and "files" not in request:
        request["data"] = {**request.get("data", {}), CSRF_FIELD: token}
    client.cookies.clear()

    answer = client.request(method, path, headers=headers, follow_redirects=False, **request)
    # Wrong secrets of one case must not end those of the next.
    app.state.throttle.forget("testclient")

    if name == "GET /sign-in" and situation in {"admin session", "wrong form token", "other site"}:
        # Whoever has signed in goes on.
        assert answer.status_code == 303
        return
    assert answer.status_code == expected(situation, method, route), answer.text[:500]
    if answer.status_code == 303 and route.status != 303:
        assert answer.headers["location"].startswith("/sign-in?next=")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_table_knows_every_route(app: Litestar) -> None:
    known = {name.replace("/link/forged", "/link/{token:str}") for name in ROUTES}
    known = {name.replace("reviews-v1", "{model_id:str}") for name in known}
    known = {name.replace("icon.svg", "{file_path:path}") for name in known}
    there = {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method not in {"OPTIONS", "HEAD"}
    }
    # Litestar's page for addresses below /schema that do not exist.
    assert there - {"GET /schema/{path:str}"} == known

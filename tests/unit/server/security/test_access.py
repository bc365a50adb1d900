"""Access rules: every route with the credentials that distinguish the rules."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from argon2 import PasswordHasher
from httpx import Response
from itsdangerous import TimestampSigner
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.security.sessions import SESSION_COOKIE, Sessions
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Labels, MLflow, Paths, Serving, Settings
from pipelines.registry.versions import RegisteredVersion
from tests.unit.server.conftest import download_nothing, load_counting_scorer

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
CORRECTION = {"data": {"text": "good", "label": "NEGATIVE"}}
FILE = {"files": {"file": ("rows.txt", b"good\nbad\n", "text/plain")}}

ROUTES = {
    "GET /": Route("page", 200),
    "POST /": Route("page", 200, FORM),
    "GET /reference": OPEN,
    "GET /file": Route("page", 200),
    "POST /file/preview": Route("page", 200, FILE),
    "POST /file": Route("page", 200, FILE),
    "POST /file/download": Route("page", 200, FILE),
    "POST /feedback": Route("page", 200, CORRECTION),
    "POST /feedback/withdraw": Route("page", 200, {"data": {"id": "none"}}),
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
    "POST /api/v1/inference/file_predict": Route("key", 200, {"content": b"text\ngood\nbad\n"}),
    "POST /api/v1/inference/explain": Route("key", 200, TEXT),
    "POST /api/v1/feedback": Route("key", 201, {"json": CORRECTION["data"]}),
    "DELETE /api/v1/feedback/none": Route("key", 404),
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
    "GET /admin/corrections.csv": Route("panel", 200),
    "POST /admin/comparison": Route("panel", 200, {"data": {}}),
    "GET /admin/adaptation": Route("panel", 200),
    "POST /admin/adaptation": Route("panel", 303, FILE),
    "POST /admin/models/reviews-v1/activate": Route("panel", 303),
    "POST /admin/models/reviews-v1/remove": Route("panel", 303),
    "POST /label": Route("desk", 303, FILE),
    "POST /label/name": Route("desk", 303, {"data": {"name": "Ann", "project": "pile"}}),
    "GET /label/pile": Route("desk", 200),
    "POST /label/pile": Route("desk", 200, {"data": {"do": "undo"}}),
    "GET /label/pile/progress": Route("desk", 200),
    "GET /label/pile/disputes": Route("desk", 200),
    "POST /label/pile/disputes": Route("desk", 200, {"data": {"answer": "a"}}),
    "GET /label/pile/labels.csv": Route("desk", 200),
    "POST /label/pile/model": Route("desk", 303, {"data": {"name": "mine"}}),
    "GET /label": Route("desk", 200),
    "GET /admin/link/forged": Route("open", 403),
    "GET /sign-in": OPEN,
    "POST /sign-in": Route("open", 303, {"data": {"secret": SECRET}}),
    "POST /sign-out": Route("open", 303),
}

NO_SESSION = {"page": 303, "key": 401, "admin": 401, "panel": 303, "desk": 303}
CREDENTIALS = {
    # The statuses that differ from those of the table above, by the kind of the route.
    "nothing": NO_SESSION,
    "API key": {"admin": 401, "panel": 303, "desk": 303},
    "admin token": {"page": 303, "panel": 303, "desk": 303},
    "admin session": {"admin": 401},
    "admin secret": {"page": 303, "panel": 303, "desk": 303},
    "client session": {"admin": 401, "panel": 303},
    "expired session": NO_SESSION,
    "ended session": NO_SESSION,
    "forged session": NO_SESSION,
}
TELLING_APART = ("nothing", "API key", "admin token", "admin session")
"""With these, each kind of route gives other answers: they show that a route has its rule."""

REPRESENTATIVES = {route.kind: name for name, route in ROUTES.items()}
"""A rule does not know its route, so the other credentials need one route of each kind."""

CASES = [(name, credential) for name in ROUTES for credential in TELLING_APART] + [
    (name, credential)
    for name in REPRESENTATIVES.values()
    for credential in CREDENTIALS
    if credential not in TELLING_APART
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    root = tmp_path_factory.mktemp("project")
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    settings = Settings(
        root=root,
        paths=Paths(models=root / "models"),
        mlflow=MLflow(tracking_uri=f"sqlite:///{root}/mlflow.db"),
        labels=Labels(storage=f"sqlite:///{root}/labels.db"),
        serving=Serving(
            admin_token=TOKEN,
            admin_secret_hash=hasher.hash(SECRET),
            api_keys=(KEY,),
            allowed_hosts=("testserver.local",),
            feedback=True,
            feedback_storage=f"sqlite:///{root}/feedback.db",
        ),
    )
    _install(settings.paths.models)
    app = create_app(settings, load_counting_scorer)
    app.state.services.labelling.store.create("pile", ("a", "b"), start="")
    return app


def _install(folder: Path) -> None:
    version = RegisteredVersion(
        name="reviews", version=1, created=datetime(2026, 5, 4, tzinfo=UTC), source="test"
    )
    cache = ModelCache(folder)
    cache.install(version, download_nothing, lambda entry: None)
    cache.activate("reviews-v1")


@pytest.fixture(scope="module")
def client(app: Litestar) -> Iterator[TestClient[Litestar]]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def headers_for(credential: str, sessions: Sessions) -> dict[str, str]:
    if credential == "nothing":
        return {}
    if credential == "API key":
        return {"X-API-Key": KEY}
    if credential in {"admin token", "admin secret"}:
        return {"Authorization": f"Bearer {TOKEN if credential == 'admin token' else SECRET}"}
    session = sessions.open("client" if credential == "client session" else "admin")
    cookie = sessions.cookie(session, False).value
    if credential == "expired session":
        long_ago = int(time.time()) - 9 * 3600
        with patch.object(TimestampSigner, "get_timestamp", lambda self: long_ago):
            cookie = sessions.cookie(session, False).value
    elif credential == "ended session":
        sessions.end(session)
    elif credential == "forged session":
        cookie = f"{cookie}"[:-4] + "AAAA"
    return {"Cookie": f"{SESSION_COOKIE}={cookie}"}


def send(client: TestClient[Litestar], name: str, headers: dict[str, str]) -> Response:
    method, _, path = name.partition(" ")
    client.cookies.clear()
    return client.request(
        method,
        path,
        headers={"Accept": "text/html,*/*", **headers},
        follow_redirects=False,
        **ROUTES[name].request,
    )


@pytest.mark.parametrize(("name", "credential"), CASES)
def test_access(app: Litestar, client: TestClient[Litestar], name: str, credential: str) -> None:
    services, route = app.state.services, ROUTES[name]
    answer = send(client, name, headers_for(credential, services.sessions))

    if name == "GET /sign-in" and credential == "admin session":
        # A signed-in client is redirected.
        assert answer.status_code == 303
        return
    expected = CREDENTIALS[credential].get(route.kind, route.status)
    assert answer.status_code == expected, answer.text[:500]
    if answer.status_code == 303 and route.status != 303:
        assert answer.headers["location"].startswith("/sign-in?next=")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
]


@pytest.mark.parametrize("name", ROUTES)
def test_pages_of_other_sites_change_nothing(
    app: Litestar, client: TestClient[Litestar], name: str
) -> None:
    """Not even with all credentials of the admin, which a browser may add."""
    session = headers_for("admin session", app.state.services.sessions)
    everything = {"Authorization": f"Bearer {TOKEN}", "X-API-Key": KEY, **session}
    allowed = send(client, name, everything).status_code

    for foreign in FOREIGN[:: 1 if name.startswith("POST /admin") else len(FOREIGN) - 1]:
        status = send(client, name, {**everything, **foreign}).status_code
        assert status == (allowed if name.startswith("GET ") else 403)
    assert send(client, name, {**everything, "Host": "evil.example"}).status_code == 400


def test_the_table_knows_every_route(app: Litestar) -> None:
    known = {name.replace("/link/forged", "/link/{token:str}") for name in ROUTES}
    known = {name.replace("reviews-v1", "{model_id:str}") for name in known}
    known = {name.replace("feedback/none", "feedback/{feedback_id:str}") for name in known}
    known = {name.replace("icon.svg", "{file_path:path}") for name in known}
    known = {name.replace("/label/pile", "/label/{project:str}") for name in known}
    there = {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method not in {"OPTIONS", "HEAD"}
    }
    # Litestar's page for addresses below /schema that do not exist.
    assert there - {"GET /schema/{path:str}"} == known

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from pipelines import errors
from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Paths, Settings
from pipelines.registry.client import Registry
from pipelines.registry.versions import RegisteredModel, RegisteredVersion
from pipelines.workflows import fetch
from tests.unit.server.conftest import Install, load_counting_scorer

MODELS = "/api/v1/models"
Client = TestClient[Litestar]

CHANGES = [
    ("POST", MODELS, {"model_name": "reviews"}),
    ("PUT", f"{MODELS}/active", {"id": "reviews-v2"}),
    ("DELETE", f"{MODELS}/reviews-v2", None),
    ("GET", f"{MODELS}/registry", None),
]


def answering(client: Client) -> str:
    return str(client.post("/api/v1/inference/predict", json={"text": "good"}).json()["model"])


def test_models_are_listed_with_what_is_known_about_them(client: Client) -> None:
    listed = client.get(MODELS).json()

    assert [model["id"] for model in listed] == ["reviews-v1", "reviews-v2"]
    assert [model["active"] for model in listed] == [True, False]
    first = listed[0]
    assert (first["name"], first["version"], first["aliases"]) == ("reviews", 1, ["champion"])
    assert first["metrics"] == {"accuracy": 0.92}
    assert first["created"] == "2026-05-04T00:00:00Z"
    assert first["size"] > 0
    assert not {"path", "source"} & first.keys()


def test_one_model(client: Client) -> None:
    assert client.get(f"{MODELS}/reviews-v2").json() == client.get(MODELS).json()[1]
    assert client.get(f"{MODELS}/active").json()["id"] == "reviews-v1"


@pytest.mark.parametrize("name", ["nothing-v1", "%2e%2e%2f%2e%2e%2fetc", ".locks", "active.json"])
def test_an_unknown_model_is_not_found(
    client: Client, admin: dict[str, bytes], name: str, cache: ModelCache
) -> None:
    before = sorted(cache.folder.rglob("*"))

    assert client.get(f"{MODELS}/{name}").status_code == 404
    assert client.delete(f"{MODELS}/{name}", headers=admin).status_code == 404
    assert sorted(cache.folder.rglob("*")) == before


def test_activating_reaches_the_next_prediction(client: Client, admin: dict[str, bytes]) -> None:
    assert answering(client) == "reviews-v1"

    answer = client.put(f"{MODELS}/active", json={"id": "reviews-v2"}, headers=admin)

    assert (answer.status_code, answer.json()["active"]) == (200, True)
    assert answering(client) == "reviews-v2"


def test_a_model_that_cannot_be_loaded_is_not_activated(
    client: Client, admin: dict[str, bytes], install: Install
) -> None:
    install(1, name="broken")

    answer = client.put(f"{MODELS}/active", json={"id": "broken-v1"}, headers=admin)

    assert (answer.status_code, answer.json()["detail"]) == (422, "broken-v1 is damaged")
    assert client.get(f"{MODELS}/active").json()["id"] == "reviews-v1"
    assert answering(client) == "reviews-v1"


def test_activating_what_is_not_there_changes_nothing(
    client: Client, admin: dict[str, bytes]
) -> None:
    answer = client.put(f"{MODELS}/active", json={"id": "reviews-v9"}, headers=admin)

    assert answer.status_code == 404
    assert answering(client) == "reviews-v1"


def test_removing(client: Client, admin: dict[str, bytes], cache: ModelCache) -> None:
    assert client.delete(f"{MODELS}/reviews-v2", headers=admin).status_code == 204
    assert [model.id for model in cache.list()] == ["reviews-v1"]


def test_the_active_model_is_kept(client: Client, admin: dict[str, bytes]) -> None:
    answer = client.delete(f"{MODELS}/reviews-v1", headers=admin)

    assert answer.status_code == 409
    assert "active" in answer.json()["detail"]
    assert answering(client) == "reviews-v1"


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic YWRtaW46YWRtaW4=", "Bearer größer"],
)
def test_changes_need_the_token(
    client: Client, method: str, path: str, body: dict[str, str] | None, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}

    answer = client.request(method, path, json=body, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Authorization: Bearer" in answer.json()["detail"]
    assert [model["active"] for model in client.get(MODELS).json()] == [True, False]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer anything"])
def test_without_a_token_nobody_manages_models(
    settings: Settings, method: str, path: str, body: dict[str, str] | None, header: str | None
) -> None:
    serving = msgspec.structs.replace(settings.serving, admin_token="")
    closed = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(closed) as client:
        headers = {} if header is None else {"Authorization": header}
        answer = client.request(method, path, json=body, headers=headers)

    assert answer.status_code == 403
    assert "OLENS_SERVING__ADMIN_TOKEN" in answer.json()["detail"]


@pytest.fixture
def fetches(
    monkeypatch: pytest.MonkeyPatch, install: Install
) -> Callable[[Exception | None], list[dict[str, object]]]:
    """Replace the registry; returns what is asked of it."""

    def prepare(failure: Exception | None = None) -> list[dict[str, object]]:
        asked: list[dict[str, object]] = []

        def fetch_model(settings: Settings, name: str, **options: object) -> CachedModel:
            options.pop("on_progress")
            asked.append({"name": name, **options})
            if failure:
                raise failure
            return install(3)

        monkeypatch.setattr(fetch, "fetch_model", fetch_model)
        return asked

    return prepare


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({}, {"version": None, "alias": None}),
        ({"model_version": 3}, {"version": 3, "alias": None}),
        ({"alias": "champion", "set_default": True}, {"version": None, "alias": "champion"}),
    ],
)
def test_fetching(
    client: Client,
    admin: dict[str, bytes],
    fetches: Callable[..., list[dict[str, object]]],
    body: dict[str, object],
    asked: dict[str, object],
) -> None:
    calls = fetches()

    answer = client.post(MODELS, json={"model_name": "reviews", **body}, headers=admin)

    assert answer.status_code == 201
    assert calls == [{"name": "reviews", **asked}]
    assert answer.json()["id"] == "reviews-v3"
    activated = "set_default" in body
    assert answer.json()["active"] is activated
    assert answering(client) == ("reviews-v3" if activated else "reviews-v1")


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (errors.RegistryUnavailableError("The registry does not answer"), 503),
        (errors.RegistryAuthError("The registry refuses the password"), 502),
        (errors.ModelNotFoundError("No such model"), 404),
        (errors.CorruptModelError("The download is damaged"), 422),
        (errors.UnsafeModelError("It is a pickle"), 422),
        (errors.StorageError("The disk is full"), 507),
    ],
)
def test_a_failed_fetch_says_why_and_changes_nothing(
    client: Client,
    admin: dict[str, bytes],
    fetches: Callable[..., list[dict[str, object]]],
    failure: Exception,
    status: int,
) -> None:
    fetches(failure)

    answer = client.post(MODELS, json={"model_name": "reviews", "set_default": True}, headers=admin)

    assert (answer.status_code, answer.json()["detail"]) == (status, str(failure))
    assert answering(client) == "reviews-v1"


def test_the_registry_is_listed(
    client: Client, admin: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = RegisteredVersion(
        name="reviews", version=7, created=datetime(2026, 5, 4, tzinfo=UTC), source="sqlite"
    )
    offered = [RegisteredModel(name="reviews", versions=[version])]
    monkeypatch.setattr(Registry, "models", lambda self: offered)

    answer = client.get(f"{MODELS}/registry", headers=admin).json()

    assert [(model["name"], model["versions"][0]["version"]) for model in answer] == [
        ("reviews", 7)
    ]


def test_a_registry_that_does_not_answer_is_a_503(
    client: Client, admin: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Registry) -> list[RegisteredModel]:
        raise errors.RegistryUnavailableError("The registry does not answer")

    monkeypatch.setattr(Registry, "models", fail)

    answer = client.get(f"{MODELS}/registry", headers=admin)

    assert (answer.status_code, answer.json()["detail"]) == (503, "The registry does not answer")
    assert answering(client) == "reviews-v1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model_name": ""},
        {"model_name": "reviews", "model_version": 0},
        {"model_name": "reviews", "model_version": "one"},
        {"model_name": "reviews", "model_version": 1, "alias": "champion"},
        {"model_name": "reviews", "versoin": 1},
    ],
)
def test_a_senseless_fetch_is_refused(
    client: Client,
    admin: dict[str, bytes],
    fetches: Callable[..., list[dict[str, object]]],
    body: dict[str, object],
) -> None:
    calls = fetches()

    assert client.post(MODELS, json=body, headers=admin).status_code == 400
    assert calls == []


def test_a_damaged_entry_is_refused(
    client: Client, admin: dict[str, bytes], settings: Settings
) -> None:
    manifest: Path = settings.paths.models / "reviews-v2" / "model" / "MLmodel"
    manifest.write_text("flavors: {evil: {}}\n")

    answer = client.put(f"{MODELS}/active", json={"id": "reviews-v2"}, headers=admin)

    assert answer.status_code == 422
    assert answering(client) == "reviews-v1"


def test_the_base_model_can_answer_again(
    client: Client, admin: dict[str, bytes], cache: ModelCache
) -> None:
    activated = client.put(f"{MODELS}/active", json={"id": "base"}, headers=admin)

    assert activated.status_code == 200
    assert activated.json()["active"] is True
    assert answering(client) == "base"
    assert {model.id for model in cache.list()} == {"reviews-v1", "reviews-v2"}

    kept = client.delete(f"{MODELS}/base", headers=admin)
    assert kept.status_code == 409
    assert "comes with OpinionLens" in kept.json()["detail"]

    assert client.put(f"{MODELS}/active", json={"id": "reviews-v2"}, headers=admin).is_success
    assert answering(client) == "reviews-v2"


def test_the_base_model_is_described_while_it_answers(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, paths=Paths(models=tmp_path / "models"))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        active = client.get("/api/v1/models/active").json()
        assert active == client.get("/api/v1/models/base").json()
    assert active["id"] == "base"
    assert active["active"] is True
    assert active["metrics"]["accuracy"] > 0.85

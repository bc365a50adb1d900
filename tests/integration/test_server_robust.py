"""The service answers through everything that can be wrong with registries and models."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.security.sessions import SESSION_COOKIE
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import MLflow, Paths, Serving, Settings
from pipelines.registry.manifest import MANIFEST, write_manifest
from pipelines.registry.versions import MANIFEST_TAG
from tests.integration.services import free_port
from tests.integration.test_registry_broken import answering, http
from tests.integration.tracked import Tracked, log_model
from tests.serving import install_linear

PREDICT = "/api/v1/inference/predict"
TOKEN = "the token of the admin"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
Client = TestClient[Litestar]


def make_settings(root: Path, mlflow: MLflow) -> Settings:
    serving = Serving(admin_token=TOKEN, allowed_hosts=("testserver.local",), rate_limit=0)
    return Settings(root=root, paths=Paths(models=root / "models"), mlflow=mlflow, serving=serving)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    """One good model answers, another one waits."""
    cache = ModelCache(tmp_path / "models")
    for version in (1, 2):
        install_linear(cache.folder, version, 1.0)
    cache.activate("reviews-v1")
    return cache


def answers(client: Client, model: str = "reviews-v1") -> bool:
    answer = client.post(PREDICT, json={"text": "any"})
    return answer.status_code == 200 and answer.json()["model"] == model


REGISTRIES: dict[str, tuple[Callable[[], AbstractContextManager[str]], int]] = {
    "down": (lambda: nullcontext(f"http://127.0.0.1:{free_port()}"), 503),
    "silent": (lambda: answering(None), 503),
    "a web page": (lambda: answering(http(b"<html>hello</html>", kind="text/html")), 503),
    "garbage": (lambda: answering(b"\x00\xff\x00 nothing"), 503),
    "an error": (lambda: answering(http(b"oops", "500 Internal Server Error")), 503),
    "wrong password": (lambda: answering(http(b"no", "401 Unauthorized", "text/plain")), 502),
}


@pytest.mark.parametrize("what", REGISTRIES)
def test_a_registry_that_does_not_help(tmp_path: Path, cache: ModelCache, what: str) -> None:
    registry, status = REGISTRIES[what]
    with registry() as uri:
        mlflow = MLflow(registry_uri=uri, timeout=1.0, registry_password="pässword")
        app = create_app(make_settings(tmp_path, mlflow))
        with TestClient(app) as client:
            results: list[httpx.Response] = []

            def fetch() -> None:
                wanted = {"model_name": "reviews", "set_default": True}
                results.append(client.post("/api/v1/models", json=wanted, headers=ADMIN))

            fetching = threading.Thread(target=fetch)
            fetching.start()
            for _ in range(50):
                assert answers(client)
            fetching.join()

            assert results[0].status_code == status
            assert results[0].headers["content-type"] == "application/problem+json"
            assert "pässword" not in results[0].text
            session = app.state.services.sessions.open("admin")
            client.cookies.set(
                SESSION_COOKIE, str(app.state.services.sessions.cookie(session, False).value)
            )
            page = client.get("/admin?registry=ask")
            assert page.status_code == 200
            assert "The registry cannot be listed" in page.text
            assert "Failed." in page.text
            assert answers(client)


def pickled(folder: Path) -> None:
    mlmodel = folder / "MLmodel"
    mlmodel.write_text(mlmodel.read_text().replace("skops", "cloudpickle"))
    write_manifest(folder)


def traversing(folder: Path) -> None:
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    manifest["files"]["../../evil.txt"] = manifest["files"].pop("model_card.md")
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def of_an_unknown_type(folder: Path) -> None:
    import skops.io
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(make_pipeline(FunctionTransformer(shutil.rmtree)), folder / "model.skops")
    write_manifest(folder)


def flipped(folder: Path) -> None:
    content = bytearray((folder / "model.skops").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.skops").write_bytes(content)


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickle": (pickled, "is not a skops model"),
    "path traversal": (traversing, "impossible name"),
    "unknown type": (of_an_unknown_type, "rmtree"),
    "flipped byte": (flipped, "is not what was registered"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_model_that_must_not_be_used(
    tmp_path: Path, tracked: Tracked, cache: ModelCache, what: str
) -> None:
    spoil, said = BAD[what]
    files = tmp_path / "bad"
    shutil.copytree(tracked.folder, files)
    spoil(files)
    name = register_as_it_is(tracked.settings, files, f"bad {what}")
    with TestClient(create_app(make_settings(tmp_path, tracked.settings.mlflow))) as client:
        wanted = {"model_name": name, "set_default": True}
        answer = client.post("/api/v1/models", json=wanted, headers=ADMIN)

        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]
        assert answers(client)
    assert [model.id for model in cache.list()] == ["reviews-v1", "reviews-v2"]
    assert not list(tmp_path.rglob("evil.txt"))


def register_as_it_is(settings: Settings, files: Path, name: str) -> str:
    """Register files as an attacker would, with a fitting digest of their manifest."""
    from mlflow import MlflowClient

    model_id, run_id = log_model(settings, files)
    client = MlflowClient(settings.mlflow.tracking_uri, settings.mlflow.tracking_uri)
    location = client.get_logged_model(model_id).artifact_location
    digest = hashlib.sha256((files / MANIFEST).read_bytes()).hexdigest()
    client.create_registered_model(name)
    client.create_model_version(
        name, location, run_id=run_id, tags={MANIFEST_TAG: digest}, await_creation_for=0
    )
    return name


def break_pointer(cache: ModelCache) -> None:
    (cache.folder / "active.json").write_bytes(b"")


def point_nowhere(cache: ModelCache) -> None:
    (cache.folder / "active.json").write_text('{"id": "nothing-v1"}')


def flip_table(cache: ModelCache) -> None:
    table = cache.folder / "reviews-v1" / "scorer.safetensors"
    content = bytearray(table.read_bytes())
    content[-1] ^= 1
    # As a disk does: the bytes change, the name stays. The old file is mapped by the service.
    table.unlink()
    table.write_bytes(content)


def lose_table(cache: ModelCache) -> None:
    (cache.folder / "reviews-v1" / "scorer.safetensors").unlink()


def lose_entry(cache: ModelCache) -> None:
    shutil.rmtree(cache.folder / "reviews-v1")


DAMAGES = [break_pointer, point_nowhere, flip_table, lose_table, lose_entry]


@pytest.fixture
def client(tmp_path: Path, cache: ModelCache) -> Iterator[Client]:
    with TestClient(create_app(make_settings(tmp_path, MLflow()))) as client:
        yield client


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cache_that_is_damaged_while_it_answers(
    client: Client, cache: ModelCache, damage: Callable[[ModelCache], None]
) -> None:
    damage(cache)
    for _ in range(20):
        assert answers(client)

    # The way out works: another model, and back to a repaired one.
    activated = client.put("/api/v1/models/active", json={"id": "reviews-v2"}, headers=ADMIN)
    assert activated.status_code == 200
    assert answers(client, "reviews-v2")
    assert client.get("/health/ready").json()["problem"] is None


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cache_that_is_damaged_at_the_start(
    tmp_path: Path, cache: ModelCache, damage: Callable[[ModelCache], None]
) -> None:
    damage(cache)
    with TestClient(create_app(make_settings(tmp_path, MLflow()))) as client:
        refused = client.post(PREDICT, json={"text": "any"})
        assert refused.status_code == 503
        detail: Any = refused.json()["detail"]
        named = ("reviews-v1", "nothing-v1", "active.json", "cannot be read")
        assert any(each in detail for each in named), detail
        assert client.get("/health").status_code == 200
        assert client.get("/health/ready").status_code == 503

        activated = client.put("/api/v1/models/active", json={"id": "reviews-v2"}, headers=ADMIN)
        assert activated.status_code == 200
        assert answers(client, "reviews-v2")
        assert client.get("/health/ready").status_code == 200


def test_a_full_disk(
    tmp_path: Path, tracked: Tracked, cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = register_as_it_is(tracked.settings, tracked.folder, "for a full disk")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with TestClient(create_app(make_settings(tmp_path, tracked.settings.mlflow))) as client:
        answer = client.post("/api/v1/models", json={"model_name": name}, headers=ADMIN)
        assert answer.status_code == 507
        assert "full" in answer.json()["detail"]
        assert answers(client)

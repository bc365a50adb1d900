"""Who gets into the deployment's registry, and what they may do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from pipelines.errors import OpinionLensError
from pipelines.inference.fetching import fetch_model
from pipelines.registry.registering import register_model
from pipelines.settings import Settings
from tests.integration.services import PostgresServer, RegistryServer
from tests.integration.stack import database, make_secrets, registry
from tests.integration.tracked import Tracked, project_settings

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

MODELS = "/api/2.0/mlflow/registered-models"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("accounts"))


@pytest.fixture(scope="module")
def postgres(secrets: Path) -> Iterator[PostgresServer]:
    with database(secrets) as server:
        yield server


@pytest.fixture
def server(postgres: PostgresServer, secrets: Path) -> Iterator[RegistryServer]:
    with registry(postgres, secrets, secrets.parents[1] / "artifacts") as server:
        yield server


def password(secrets: Path, account: str) -> str:
    return (secrets / f"registry_{account}_password").read_text().strip()


def as_account(settings: Settings, server: RegistryServer, name: str, password: str) -> Settings:
    mlflow = msgspec.structs.replace(
        settings.mlflow,
        registry_uri=server.uri,
        registry_username=name,
        registry_password=password,
    )
    return msgspec.structs.replace(settings, mlflow=mlflow)


def test_the_service_may_read_and_change_nothing(
    server: RegistryServer, secrets: Path, tracked: Tracked, tmp_path: Path
):
    admin, service = (password(secrets, name) for name in ("admin", "service"))
    ours = as_account(tracked.settings, server, "admin", admin)
    register_model(ours, "reviews", tracked.model_id, alias="champion")
    # MLflow lets every account make models of its own, but not versions of another's.
    ours = as_account(tracked.settings, server, "service", service)
    with pytest.raises(OpinionLensError, match="refused"):
        register_model(ours, "reviews", tracked.model_id)

    there = as_account(project_settings(tmp_path), server, "service", service)
    assert fetch_model(there, "reviews", alias="champion").id == "reviews-v1"
    with httpx.Client(base_url=server.uri, auth=("service", service), timeout=30) as client:
        assert client.get(f"{MODELS}/get", params={"name": "reviews"}).status_code == 200
        alias = {"name": "reviews", "alias": "champion", "version": "1"}
        assert client.post(f"{MODELS}/alias", json=alias).status_code == 403
        assert client.request("DELETE", f"{MODELS}/delete", json=alias).status_code == 403
        account = {"username": "another", "password": "long enough for it"}
        assert client.post("/api/2.0/mlflow/users/create", json=account).status_code == 403
        grown = {"username": "service", "is_admin": True}
        assert client.patch("/api/2.0/mlflow/users/update-admin", json=grown).status_code == 403


def test_a_password_holds_that_is_written_anew(postgres: PostgresServer, secrets: Path):
    artifacts = secrets.parents[1] / "artifacts"
    old = {name: password(secrets, name) for name in ("admin", "service")}
    with registry(postgres, secrets, artifacts):
        pass
    for name in old:
        (secrets / f"registry_{name}_password").unlink()
    for name in ("app.toml", "registry_users"):
        (secrets / name).unlink()
    make_secrets(secrets.parents[1])

    with registry(postgres, secrets, artifacts) as server:
        for name, before in old.items():
            statuses = [
                httpx.get(
                    f"{server.uri}{MODELS}/search", auth=(name, value), timeout=30
                ).status_code
                for value in (before, password(secrets, name))
            ]
            assert statuses == [401, 200]

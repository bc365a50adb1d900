"""`make backup`, everything destroyed, `make restore`: on the deployment as plain processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from pipelines.inference.fetching import fetch_model
from pipelines.registry.cache import ModelCache
from pipelines.registry.client import Registry
from pipelines.registry.registering import register_model
from pipelines.settings import Settings
from tests.integration.commands import CHECKOUT
from tests.integration.services import POSTGRES_FOLDERS, PostgresServer, RegistryServer
from tests.integration.stack import Stack, database, registry, service, stack
from tests.integration.tracked import Tracked, project_settings
from tests.support import program

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

COLLEAGUE: Final = ("colleague", "a-colleague's-password")
METRIC: Final = "opinionlens_backup_last_success_timestamp_seconds"


def test_all_that_was_destroyed_comes_back(tracked: Tracked, tmp_path: Path):
    folder, secrets = tmp_path, tmp_path / "deploy/secrets"
    with stack(folder, tracked) as running:
        use(running, tracked, folder)
        before = state(running.registry, folder, tmp_path / "fetched before")
        make("backup", folder, running.database)
        assert seen(running, METRIC) > time.time() - 120

    destroy(folder)

    with database(secrets) as empty:
        with registry(empty, secrets, folder / "artifacts") as server:
            assert Registry(settings(folder, server).mlflow).models() == []
        refused = make("restore", folder, empty, check=False)
        assert "YES=1 agrees" in refused.stderr
        make("restore", folder, empty, "YES=1")
        with registry(empty, secrets, folder / "artifacts") as server:
            after = state(server, folder, tmp_path / "fetched after")
            assert after == before
            with service(folder, secrets, server) as app:
                health = httpx.get(f"{app.url}/health/ready", timeout=30)
                assert health.status_code == 200
                assert predicted(app.url)["model"] == ModelCache(folder / "models").active().id


def use(running: Stack, tracked: Tracked, folder: Path) -> None:
    """Register another version, make an account, wait until the service follows the first."""
    ours = settings(tracked.settings.root, running.registry, tracked)
    register_model(ours, "reviews", tracked.model_id)
    created = httpx.post(
        f"{running.registry.uri}/api/2.0/mlflow/users/create",
        json=dict(zip(("username", "password"), COLLEAGUE, strict=True)),
        auth=(running.registry.username, running.registry.password),
        timeout=30,
    )
    created.raise_for_status()
    deadline = time.monotonic() + 60
    while not ModelCache(folder / "models").active():
        assert time.monotonic() < deadline, running.service.log.read_text()
        time.sleep(0.2)


def settings(root: Path, server: RegistryServer, tracked: Tracked | None = None) -> Settings:
    """Of a project in `root` with this registry."""
    base = tracked.settings if tracked else project_settings(root)
    mlflow = msgspec.structs.replace(
        base.mlflow,
        registry_uri=server.uri,
        registry_username=server.username,
        registry_password=server.password,
    )
    return msgspec.structs.replace(base, mlflow=mlflow)


def state(server: RegistryServer, folder: Path, fetched: Path) -> dict[str, Any]:
    """What the registry lists and gives, who gets in, and what the service has."""
    ours = settings(fetched, server)
    models = Registry(ours.mlflow).models()
    versions = [
        msgspec.structs.replace(version, source="")
        for model in models
        for version in model.versions
    ]
    model = fetch_model(ours, "reviews", version=1)
    # Only the database knows this account.
    me = httpx.get(
        f"{server.uri}/api/2.0/mlflow/registered-models/search", auth=COLLEAGUE, timeout=30
    )
    assert me.status_code == 200
    assert len(versions) == 2
    return {
        "versions": versions,
        "fetched": checksums(Path(model.path) / "model"),
        "cached": checksums(folder / "models"),
        "active": ModelCache(folder / "models").verify(ModelCache(folder / "models").active().id),
    }


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 by file; there must be some."""
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found
    return found


def make(
    target: str, folder: Path, server: PostgresServer, *options: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the target itself; only the ways to the database and the folders are others."""
    places = "--postgres '' "
    places += " ".join(f"--{name} sh '{folder / name}'" for name in ("artifacts", "models"))
    programs = program("pg_dump", POSTGRES_FOLDERS).parent
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    shutil.copy(CHECKOUT / "deploy/backup.py", folder / "deploy")
    variables = [f"PYTHON={sys.executable}", f"PLACES={places}", *options]
    done = subprocess.run(
        ["make", "--no-print-directory", f"--file={CHECKOUT / 'Makefile'}", target, *variables],
        cwd=folder,
        env={**os.environ, **server.environment, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def destroy(folder: Path) -> None:
    """PostgreSQL's folder has gone with its server; here go the others."""
    for name in ("artifacts", "models"):
        shutil.rmtree(folder / name)
        (folder / name).mkdir()


def seen(running: Stack, metric: str) -> float:
    """What Prometheus has of a metric, as soon as it has it."""
    deadline = time.monotonic() + 60
    while not (found := running.query(metric)):
        assert time.monotonic() < deadline, metric
        time.sleep(0.5)
    return float(found[0]["value"][1])


def predicted(url: str) -> dict[str, Any]:
    answer = httpx.post(f"{url}/api/v1/inference/predict", json={"text": "good"}, timeout=30)
    result: dict[str, Any] = answer.json()
    return result

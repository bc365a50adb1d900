"""The deployment as plain processes, from the same configuration files with addresses substituted.

PostgreSQL, the registry, the service with two workers that follows ``reviews@champion``, both
exporters, Prometheus and Alertmanager. What needs minutes in the deployment takes seconds here:
intervals are substituted too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
import pytest

from pipelines.workflows.register import register
from tests.integration.commands import CHECKOUT, OLENS
from tests.integration.services import (
    POSTGRES_FOLDERS,
    PostgresServer,
    RegistryServer,
    answers,
    free_port,
    postgres_server,
    running,
)
from tests.integration.tracked import Tracked
from tests.serving import Service, serve
from tests.support import PATIENCE, program

DEPLOY: Final = CHECKOUT / "deploy"
ENTRYPOINT: Final = CHECKOUT / "docker/registry/entrypoint.py"

ELSEWHERE: Final = ("traefik", "grafana")
"""Jobs whose programs are not here: they are no packages of Debian."""

HURRY: Final = {
    r"(scrape_interval|evaluation_interval|  interval): \w+": r"\1: 1s",
    r"for: \w+": "for: 2s",
    r"offset 1h": "offset 2s",
}
"""Patterns of intervals in configuration files, and what stands for them here."""


@dataclass(frozen=True)
class Stack:
    """Everything that runs."""

    folder: Path
    """Like a checkout: with `deploy/secrets`, `backups/metrics`, `models`, and `artifacts`."""
    database: PostgresServer
    registry: RegistryServer
    service: Service
    prometheus: str
    alertmanager: str

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        asked = f"{self.prometheus}/api/v1/query?query={quote(promql)}"
        result: list[dict[str, Any]] = fetch(asked)["data"]["result"]
        return result

    def get(self, path: str, **query: str) -> Any:
        """What Prometheus' API answers."""
        return fetch(f"{self.prometheus}/api/v1/{path}?{urlencode(query)}")["data"]

    def alerts(self) -> list[dict[str, Any]]:
        """What Alertmanager knows."""
        alerts: list[dict[str, Any]] = fetch(f"{self.alertmanager}/api/v2/alerts")
        return alerts


def fetch(url: str) -> Any:
    """The JSON of a page."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return json.load(response)


def make_secrets(folder: Path) -> Path:
    """What `make secrets` does, in a `folder` like a checkout; gives the folder of the secrets."""
    (folder / "deploy").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(DEPLOY / "prepare.py"), "--deploy", str(folder / "deploy")]
    subprocess.run([*command, "secrets", "--", *OLENS, "config", "hash-secret"], check=True)
    return folder / "deploy/secrets"


@contextmanager
def database(secrets: Path) -> Iterator[PostgresServer]:
    """PostgreSQL with the deployment's roles and databases."""
    authentication = ("--auth-local=trust", "--auth-host=scram-sha-256")
    with postgres_server("postgres", *authentication) as server:
        psql = [str(program("psql", POSTGRES_FOLDERS)), "--quiet", "--set=ON_ERROR_STOP=1"]
        environment = {**os.environ, **server.environment}
        create = [*psql, "--dbname=postgres", "--command=CREATE DATABASE mlflow"]
        subprocess.run(create, check=True, env=environment)
        script = (DEPLOY / "postgres/init.sql").read_text().replace("/run/secrets", str(secrets))
        subprocess.run(
            [*psql, "--dbname=mlflow"], input=script, text=True, check=True, env=environment
        )
        yield server


@contextmanager
def registry(database: PostgresServer, secrets: Path, artifacts: Path) -> Iterator[RegistryServer]:
    """The registry, started by the entry point of its image; it keeps its files in `artifacts`."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    artifacts.mkdir(exist_ok=True)
    environment = {
        "REGISTRY_SECRETS": str(secrets),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(database.port),
        "MLFLOW_HOST": "127.0.0.1",
        "MLFLOW_PORT": str(port),
        "MLFLOW_ARTIFACTS_DESTINATION": str(artifacts),
        "TMPDIR": str(artifacts.parent),
    }
    password = (secrets / "registry_admin_password").read_text().strip()
    command = [sys.executable, str(ENTRYPOINT)]
    with running(command, artifacts.parent, lambda: answers(f"{uri}/health"), environment):
        yield RegistryServer(uri, "admin", password, artifacts)


@contextmanager
def service(
    folder: Path, secrets: Path, server: RegistryServer, metrics_port: int
) -> Iterator[Service]:
    """`olens serve`, with its secrets where its image expects them."""
    (folder / "conf").mkdir(exist_ok=True)
    shutil.copy(secrets / "app.toml", folder / "conf/.secrets.toml")
    environment = {
        "OLENS_MLFLOW__REGISTRY_URI": server.uri,
        "OLENS_SERVING__FOLLOW": "reviews@champion",
        "OLENS_SERVING__FOLLOW_INTERVAL": "1",
        "OLENS_SERVING__METRICS_PORT": str(metrics_port),
    }
    with serve(folder, "--workers", "2", env=environment) as service:
        yield service


@contextmanager
def stack(folder: Path, tracked: Tracked) -> Iterator[Stack]:
    """All of it below `folder`; the model of `tracked` is registered as ``reviews@champion``."""
    secrets = make_secrets(folder)
    with ExitStack() as on:
        base = on.enter_context(database(secrets))
        server = on.enter_context(registry(base, secrets, folder / "artifacts"))
        _register(server, tracked)
        metrics_port = free_port()
        app = on.enter_context(service(folder, secrets, server, metrics_port))
        addresses = {
            "app:8001": f"127.0.0.1:{metrics_port}",
            "node-exporter:9100": on.enter_context(_node_exporter(folder / "backups/metrics")),
            "postgres-exporter:9187": on.enter_context(_postgres_exporter(base, secrets)),
            **{f"{name}:{port}": _free_address() for name, port in _REST.items()},
        }
        alertmanager = on.enter_context(_alertmanager(folder, addresses["alertmanager:9093"]))
        prometheus = on.enter_context(_prometheus(folder, addresses))
        yield Stack(folder, base, server, app, prometheus, alertmanager)


@pytest.fixture(scope="module")
def running_stack(tracked: Tracked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for the tests of a file."""
    with stack(tmp_path_factory.mktemp("stack"), tracked) as running_stack:
        yield running_stack


def configure(folder: Path, addresses: Mapping[str, str]) -> None:
    """Copy Prometheus' configuration to `folder`, with `addresses` instead of the deployment's."""
    shutil.copytree(DEPLOY / "prometheus", folder)
    for path in (folder / "prometheus.yml", *(folder / "rules").glob("*.yml")):
        text = path.read_text()
        for name, address in addresses.items():
            text = text.replace(f"[{name}]", f"[{address}]")
        for pattern, replacement in HURRY.items():
            text = re.sub(pattern, replacement, text)
        path.write_text(text)


_REST: Final = {"prometheus": 9090, "alertmanager": 9093, "traefik": 8082, "grafana": 3000}
"""Ports of programs that start later than the configuration that names them, or never."""


def _register(server: RegistryServer, tracked: Tracked) -> None:
    """What `olens register --alias champion` does."""
    mlflow = msgspec.structs.replace(
        tracked.settings.mlflow,
        registry_uri=server.uri,
        registry_username=server.username,
        registry_password=server.password,
    )
    settings = msgspec.structs.replace(tracked.settings, mlflow=mlflow)
    register(settings, "reviews", tracked.model_id, alias="champion")


@contextmanager
def _node_exporter(textfiles: Path) -> Iterator[str]:
    address = _free_address()
    command = [
        str(program("prometheus-node-exporter")),
        f"--web.listen-address={address}",
        f"--collector.textfile.directory={textfiles}",
    ]
    with running(command, textfiles, lambda: answers(f"http://{address}/metrics")):
        yield address


@contextmanager
def _postgres_exporter(database: PostgresServer, secrets: Path) -> Iterator[str]:
    address = _free_address()
    command = [str(program("prometheus-postgres-exporter")), f"--web.listen-address={address}"]
    environment = {
        "DATA_SOURCE_URI": f"127.0.0.1:{database.port}/postgres?sslmode=disable",
        "DATA_SOURCE_USER": "exporter",
        "DATA_SOURCE_PASS_FILE": str(secrets / "exporter_password"),
    }
    ready = f"http://{address}/metrics"
    with running(command, secrets, lambda: answers(ready), environment):
        yield address


@contextmanager
def _alertmanager(folder: Path, address: str) -> Iterator[str]:
    command = [
        str(program("prometheus-alertmanager")),
        f"--config.file={DEPLOY / 'alertmanager/alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",  # it is the only one
    ]
    with running(command, folder, lambda: answers(f"http://{address}/-/ready")):
        yield f"http://{address}"


@contextmanager
def _prometheus(folder: Path, addresses: Mapping[str, str]) -> Iterator[str]:
    configure(folder / "prometheus", addresses)
    address = addresses["prometheus:9090"]
    command = [
        str(program("prometheus")),
        f"--config.file={folder / 'prometheus/prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus-data'}",
        f"--web.listen-address={address}",
    ]
    with running(command, folder, lambda: answers(f"http://{address}/-/ready")):
        yield f"http://{address}"


def _free_address() -> str:
    return f"127.0.0.1:{free_port()}"

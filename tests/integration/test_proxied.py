"""Traefik's rules and compose's settings, held against what the service and the registry answer."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from tests.integration.services import PostgresServer
from tests.integration.stack import database, make_secrets, registry
from tests.serving import Service, serve
from tests.unit.deployment.merged import merged
from tests.unit.deployment.test_proxy import read

METRICS: Final = [
    *("/metrics", "/metrics/", "/metrics//", "//metrics", "/%6detrics", "/metrics?x=1"),
    *("/api/v1/metrics", "/api/v1/metrics/", "/api//v1/metrics", "//api/v1//metrics/"),
    *("/api/v1/%6Detrics", "/%61pi/v1/metrics"),
]
PUBLIC: Final = ["/", "/health", "/health/ready", "/api/v1", "/api/v1/about", "/schema"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("project")) as service:
        yield service


def status(service: Service, path: str) -> int:
    """Ask for exactly this path; clients of a higher kind would tidy it."""
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=30)
    connection.request("GET", path)
    return connection.getresponse().status


def hidden(path: str) -> bool:
    """Whether Traefik, which decodes paths first, finds no route for it."""
    rule = read("prod")["http"]["routers"]["app"]["rule"]
    pattern = re.search(r"!PathRegexp\(`([^`]+)`\)", rule)
    assert pattern
    return bool(re.search(pattern[1], unquote(path.partition("?")[0])))


@pytest.mark.parametrize("path", METRICS)
def test_every_way_to_write_the_metrics_is_hidden(service: Service, path: str):
    assert status(service, path) == 200
    assert hidden(path)


@pytest.mark.parametrize("path", PUBLIC)
def test_the_rest_is_public(service: Service, path: str):
    assert status(service, path) == 200
    assert not hidden(path)


# The registry, which checks by which name it is called


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, Path]]:
    secrets = make_secrets(tmp_path_factory.mktemp("registry"))
    with database(secrets) as server:
        yield server, secrets


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stack", "page"),
    [
        ("local", "http://mlflow.localhost"),
        ("local", "http://mlflow.localhost:8080"),
        ("prod", "https://mlflow.example.org"),
    ],
)
def test_the_registry_answers_to_its_names_and_pages(
    stack: str,
    page: str,
    prepared: tuple[PostgresServer, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    server, secrets = prepared
    for name, value in merged(tmp_path, stack)["services"]["registry"]["environment"].items():
        monkeypatch.setenv(name, value)
    host = urlsplit(page).netloc

    with registry(server, secrets, tmp_path / "artifacts") as running:

        def create(host: str, origin: str) -> int:
            return httpx.post(
                f"{running.uri}/api/2.0/mlflow/registered-models/create",
                json={"name": f"{tmp_path.name}-{len(host)}"},
                headers={"Host": host, "Origin": origin},
                auth=(running.username, running.password),
                timeout=30,
            ).status_code

        assert create(host, page) == 200
        assert create("registry:5000", page) == 200
        assert create("evil.example", page) == 403
        assert create(host, "https://evil.example") == 403

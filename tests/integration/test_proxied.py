"""What of the service is public: Traefik's rule, held against what the service answers."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from tests.serving import Service, serve
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

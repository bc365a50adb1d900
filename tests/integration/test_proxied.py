"""What visitors get through Traefik, which is real and has the deployment's configuration."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.integration.proxy import Proxy, ask, proxy
from tests.integration.services import free_port
from tests.integration.stack import make_secrets
from tests.serving import Service, serve
from tests.support import wait_for

METRICS: Final = [
    *("/metrics", "/metrics/", "/metrics//", "//metrics", "/%6detrics", "/metrics?x=1"),
    *("/api/v1/metrics", "/api/v1/metrics/", "/api//v1/metrics", "//api/v1//metrics/"),
    *("/api/v1/%6Detrics", "/%61pi/v1/metrics", "/x/../metrics", "/x/%2e%2e/metrics"),
    *("/metrics%2f", "/metrics%2F", "/%2fmetrics", "/%2Fmetrics%2F", "/api%2fv1%2fmetrics"),
    *("/api/v1%2Fmetrics", "/api%2Fv1/metrics", "/x%2f..%2fmetrics", "/metrics%5c"),
]
PUBLIC: Final = ["/", "/health", "/health/ready", "/api/v1", "/api/v1/about", "/schema"]
OTHERS: Final = ("mlflow", "grafana", "prometheus")
BUSY: Final = 200
"""Requests that one client may make at once."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = {
        "OLENS_SERVING__ALLOWED_HOSTS": '["example.org", "opinionlens.localhost", "127.0.0.1"]',
        "OLENS_SERVING__METRICS_PORT": str(free_port()),
    }
    with serve(tmp_path_factory.mktemp("project"), env=env) as service:
        yield service


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """A service that answers with the headers that it gets; it stands for MLflow and Prometheus."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(dict(self.headers.items())).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def traefik(folder: Path, stack: str, service: Service, echo: str) -> Iterator[Proxy]:
    """Traefik in front of all that it knows but Grafana, which does not run."""
    secrets = make_secrets(folder)
    addresses = {
        "app:8000": urlsplit(service.url).netloc,
        "registry:5000": echo,
        "prometheus:9090": echo,
        "grafana:3000": f"127.0.0.1:{free_port()}",
    }
    with proxy(folder, stack, addresses, secrets) as running:
        yield running


@pytest.fixture(scope="module")
def public(
    tmp_path_factory: pytest.TempPathFactory, service: Service, echo: str
) -> Iterator[Proxy]:
    with traefik(tmp_path_factory.mktemp("public"), "prod", service, echo) as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, service: Service, echo: str) -> Iterator[Proxy]:
    with traefik(tmp_path_factory.mktemp("local"), "local", service, echo) as running:
        yield running


def signed_in(proxy: Proxy, user: str, name: str) -> dict[str, str]:
    """The header of someone who knows a password."""
    password = (proxy.folder / "deploy/secrets" / name).read_text().strip()
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize("path", METRICS)
def test_metrics_are_not_public_however_they_are_written(public: Proxy, path: str):
    answer = public.get(path)

    assert answer.status in {400, 404}
    assert "# HELP" not in answer.body


@pytest.mark.parametrize("path", PUBLIC)
def test_the_rest_is_public(public: Proxy, path: str):
    answer = public.get(path)

    assert answer.status == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Server" not in answer.headers


def test_http_redirects_to_https(public: Proxy):
    answer = public.get("/health?x=1", plain=True)

    assert answer.status in {301, 308}
    assert answer.headers["Location"] == "https://example.org/health?x=1"


@pytest.mark.parametrize("name", OTHERS)
def test_operations_ask_for_a_password(public: Proxy, name: str):
    assert public.get("/", name).status == 401
    wrong = {"Authorization": f"Basic {b64encode(b'operator:guess').decode()}"}
    assert public.get("/", name, wrong).status == 401


def test_mlflow_gets_the_password_and_prometheus_does_not(public: Proxy):
    admin = signed_in(public, "admin", "registry_admin_password")
    operator = signed_in(public, "operator", "operator_password")

    assert json.loads(public.get("/", "mlflow", admin).body)["Authorization"]
    assert public.get("/", "mlflow", operator).status == 401
    answer = public.get("/", "prometheus", operator)
    assert "Authorization" not in json.loads(answer.body)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_only_the_proxy_sets_the_address_of_the_client(public: Proxy):
    operator = signed_in(public, "operator", "operator_password")
    claims = {"X-Forwarded-For": "192.0.2.1", "X_Forwarded_For": "192.0.2.1"}

    seen = json.loads(public.get("/", "prometheus", operator | claims).body)

    assert "192.0.2.1" not in seen.values()
    assert seen["X-Forwarded-For"] == "127.0.0.1"


def test_a_missing_service_leaves_the_other_routes_alone(public: Proxy):
    operator = signed_in(public, "operator", "operator_password")

    assert public.get("/", "grafana", operator).status in {502, 503}
    assert public.get("/health").status == 200


@pytest.mark.parametrize("name", ["", "mlflow", "prometheus"])
def test_on_ones_own_machine_every_name_leads_to_its_service(local: Proxy, name: str):
    answer = local.get("/api/v1", name)

    assert answer.status == 200
    assert ("X-Forwarded-Host" in answer.body) == bool(name)
    assert "Server" not in answer.headers
    assert local.get("/api/v1", "another").status == 404


def test_failures_are_logged_without_what_was_asked(public: Proxy):
    public.get("/api/v1/inference/predict?text=")
    public.get("/secret-page?text=a+private+thing", headers={"Referer": "https://x/?private"})
    public.get("/health?ok=private")

    def logged() -> list[dict[str, object]]:
        return [json.loads(line) for line in public.failures().splitlines()]

    wait_for(lambda: "/secret-page" in {line["RequestPath"] for line in logged()}, public.failures)
    assert {line["DownstreamStatus"] for line in logged()} >= {400, 404}
    assert min(int(str(line["DownstreamStatus"])) for line in logged()) >= 400
    assert "private" not in public.failures()


def test_a_client_may_not_ask_without_end(public: Proxy):
    """Last: from now on, this machine has to wait."""
    statuses: list[int] = []
    with public.connect("prometheus") as connection:
        # A slow machine takes longer to ask too often.
        while 429 not in statuses and len(statuses) < 100 * BUSY:
            statuses.append(ask(connection, "/").status)

    assert statuses.count(401) >= BUSY // 2
    assert statuses[-1] == 429

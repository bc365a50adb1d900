"""What is seen of `olens serve` from outside: metrics, logs, and what goes over the wire."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pipelines.cache.model_cache import ModelCache
from tests.serving import Service, client, install_linear, serve
from tests.support import PATIENCE

PREDICT = "/api/v1/inference/predict"
CANARY = "canarybird"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    install_linear(root / "models", 1, 1.0)
    ModelCache(root / "models").activate("reviews-v1")
    return root


@pytest.fixture(scope="module")
def service(root: Path) -> Iterator[Service]:
    with serve(root) as service:
        yield service


def test_metrics_are_summed_over_workers_and_leave_no_files(root: Path, tmp_path: Path) -> None:
    with serve(root, "--workers", "2", env={"TMPDIR": str(tmp_path)}) as service:
        with client(service.url) as asking:
            for _ in range(40):
                asking.post(PREDICT, json={"text": "any"}).raise_for_status()
            assert list(tmp_path.glob("olens-metrics-*/*.db"))
            for _ in range(6):
                text = asking.get("/metrics").text
                assert '\npredicted_sentiment_total{sentiment="POSITIVE"} 40.0\n' in text
                posted = f'http_requests_total{{method="POST",route="{PREDICT}",status="200"}} 40.0'
                assert posted in text
        assert service.stop() == 0

    assert not list(tmp_path.glob("olens-metrics-*"))


def test_logs_are_json_without_any_text(root: Path) -> None:
    env = {"OLENS_LOG_LEVEL": "debug", "OLENS_SERVING__ACCESS_LOG": "true"}
    with serve(root, env=env) as service:
        headers = {"X-Request-ID": "from-outside-1"}
        httpx.get(service.url + PREDICT, params={"text": CANARY}, headers=headers, timeout=PATIENCE)
        httpx.post(service.url + PREDICT, content=f'{{"text": "{CANARY}'.encode(), timeout=PATIENCE)
        httpx.post(service.url, data={"text": CANARY}, timeout=PATIENCE)
        httpx.get(f"{service.url}/{CANARY}?{CANARY}=1", timeout=PATIENCE)
        metrics = httpx.get(f"{service.url}/metrics", timeout=PATIENCE).text
        assert service.stop() == 0
    log = service.log.read_text()
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]

    assert CANARY not in log
    assert CANARY not in metrics
    asked = next(e for e in entries if e.get("request_id") == "from-outside-1")
    assert asked["message"] == f"GET {PREDICT} 200"
    assert {"timestamp", "level", "logger", "process", "seconds"} <= asked.keys()
    assert any(entry["message"].startswith("GET unmatched 404") for entry in entries)


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE)


def exchange(url: str, *requests: bytes) -> bytes:
    """Send requests over one connection, and read until the server hangs up."""
    with connect(url) as connection:
        for request in requests:
            connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


class TestWire:
    """Answers are whole, although their head waits for their body."""

    CLOSE = "Connection: close"

    def test_a_head_without_a_body_is_sent(self, service: Service) -> None:
        answer = exchange(service.url, get("/static/icon.svg", self.CLOSE, method="HEAD"))

        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n")

    def test_an_empty_answer_does_not_keep_the_client_waiting(self, service: Service) -> None:
        # The connection stays open: nothing but the head itself tells that it is complete.
        with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
            assert client.options(PREDICT).status_code == 204
            assert client.head("/static/icon.svg").status_code == 200
            assert client.get("/health").status_code == 200

    def test_answers_come_in_the_order_of_pipelined_requests(self, service: Service) -> None:
        paths = ["/health", "/health/ready", "/api/v1/about"]
        asked = [get(path) for path in paths[:-1]] + [get(paths[-1], self.CLOSE)]
        answer = exchange(service.url, b"".join(asked))

        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert answer.index(b'"ok"') < answer.index(b'"ready"') < answer.index(b'"labels"')

    def test_a_long_answer_is_whole(self, service: Service) -> None:
        texts = ["any text"] * 10_000
        answers = httpx.post(
            f"{service.url}/api/v1/inference/batch_predict", json=texts, timeout=PATIENCE
        ).json()

        assert len(answers) == 10_000

    def test_a_stream_is_whole(self, service: Service) -> None:
        rows = "\n".join(f"row {number}" for number in range(5_000))
        file = {"file": ("a.txt", rows)}
        answer = httpx.post(f"{service.url}/file/download", files=file, timeout=PATIENCE)

        assert answer.headers["transfer-encoding"] == "chunked"
        assert len(answer.text.splitlines()) == 5_001

    def test_bytes_that_are_not_http_are_refused_and_the_connection_closed(
        self, service: Service
    ) -> None:
        assert exchange(service.url, b"\x16\x03\x01 no HTTP\r\n\r\n").startswith(
            b"HTTP/1.1 400 Bad Request\r\n"
        )

    def test_expect_100_continue_is_answered(self, service: Service) -> None:
        body = b'{"text": "any"}'
        head = get(PREDICT, f"Content-Length: {len(body)}", "Expect: 100-continue", method="POST")
        with connect(service.url) as connection:
            connection.sendall(head)
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert b'"POSITIVE"' in connection.recv(10_000)

    def test_a_disconnect_is_not_logged_as_an_error(self, service: Service) -> None:
        head = get(PREDICT, "Content-Length: 1000", method="POST")
        for _ in range(5):
            with connect(service.url) as gone:
                gone.sendall(head + b'{"text"')

        metrics = httpx.get(f"{service.url}/metrics", timeout=PATIENCE).text
        assert not re.search(r'status="5\d\d"', metrics)
        assert "Traceback" not in service.log.read_text()

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from numpy.typing import NDArray

from opinionlens_server.app import create_app
from opinionlens_server.observability.logs import REQUEST_ID, LogFormatter
from pipelines.config.settings import Settings
from pipelines.inference.explanation import Explanation
from tests.unit.server.conftest import CountingScorer, Install

PREDICT = "/api/v1/inference/predict"
CANARY = "canarybird"
Client = TestClient[Litestar]


class Moody(CountingScorer):
    """Fails on some texts, and quotes them."""

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        if any("fail" in text for text in texts):
            try:
                raise KeyError(texts[0])
            except KeyError as error:
                raise ValueError(f"could not convert {texts[0]!r}") from error
        return super().predict(texts)

    def explain(self, text: str) -> Explanation:
        if "stumble" in text:
            raise RuntimeError(text)
        return super().explain(text)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, as a file gets it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter(terminal=False))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
def client(settings: Settings, install: Install) -> Iterator[Client]:
    install(1, activate=True)
    serving = msgspec.structs.replace(settings.serving, access_log=True)
    app = create_app(msgspec.structs.replace(settings, serving=serving), lambda entry: Moody(0))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def records(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def ours(log: io.StringIO) -> list[dict[str, object]]:
    return [entry for entry in records(log) if str(entry["logger"]).startswith("opinionlens")]


class TestFormat:
    def record(self, **extra: object) -> logging.LogRecord:
        logger = logging.getLogger("opinionlens_server.test")
        return logger.makeRecord(
            logger.name,
            logging.WARNING,
            "file.py",
            1,
            "The %s is full.",
            ("disk",),
            None,
            extra=extra,
        )

    def test_json_has_one_line_per_record(self) -> None:
        token = REQUEST_ID.set("abc-1")
        line = LogFormatter(terminal=False).format(self.record(status=507, secret="x"))
        REQUEST_ID.reset(token)
        entry = json.loads(line)

        assert "\n" not in line
        assert entry["message"] == "The disk is full."
        assert entry["level"] == "warning"
        assert entry["logger"] == "opinionlens_server.test"
        assert entry["request_id"] == "abc-1"
        assert entry["status"] == 507
        assert entry["timestamp"].endswith("Z")
        assert isinstance(entry["process"], int)
        assert "secret" not in entry

    def test_a_terminal_gets_text(self) -> None:
        line = LogFormatter(terminal=True).format(self.record())

        assert "The disk is full." in line
        assert "warning" in line
        assert not line.startswith("{")

    def test_exceptions_keep_their_traceback(self) -> None:
        logger = logging.getLogger("opinionlens_server.test")
        try:
            raise ValueError("no table")
        except ValueError:
            record = logger.makeRecord(
                logger.name, logging.ERROR, "f.py", 1, "Broken.", (), sys.exc_info()
            )
        entry = json.loads(LogFormatter(terminal=False).format(record))

        assert "ValueError: no table" in entry["exception"]

    def test_outside_of_requests_there_is_no_id(self) -> None:
        assert "request_id" not in json.loads(LogFormatter(terminal=False).format(self.record()))


class TestAccessLog:
    def test_a_request_is_one_entry(self, client: Client, log: io.StringIO) -> None:
        client.get("/api/v1/models/reviews-v1", headers={"X-Request-ID": "me-1"})
        entry = next(e for e in ours(log) if e.get("status"))

        assert entry["message"] == "GET /api/v1/models/{model_id} 200"
        assert entry["request_id"] == "me-1"
        assert entry["level"] == "info"
        assert 0 < float(str(entry["seconds"])) < 10

    def test_it_is_silent_unless_wanted(
        self, settings: Settings, install: Install, log: io.StringIO
    ) -> None:
        install(1, activate=True)
        app = create_app(settings, lambda entry: Moody(0))
        with TestClient(app) as client:
            client.get("/health")

        assert {e["level"] for e in ours(log) if e.get("status")} == {"debug"}


class TestRequestId:
    @pytest.mark.parametrize(
        "given", ["abc", "0190163d-8694-739b-aea5-966c26f8ad91", "a:b.c_d-e", "x" * 128]
    )
    def test_a_valid_request_id_is_kept(self, client: Client, given: str) -> None:
        answer = client.get("/health", headers={"X-Request-ID": given})

        assert answer.headers.get_list("x-request-id") == [given]

    @pytest.mark.parametrize("given", ["", " ", "a b", "é", "x" * 129, "<script>", "-a", "a\tb"])
    def test_an_invalid_request_id_is_replaced(self, client: Client, given: str) -> None:
        answer = client.get("/health", headers={"X-Request-ID": given.encode("latin-1")})

        assert len(answer.headers["x-request-id"]) == 16
        assert answer.headers["x-request-id"] != given

    def test_requests_without_an_id_get_one(self, client: Client) -> None:
        assert len({client.get("/health").headers["x-request-id"] for _ in range(50)}) == 50

    @pytest.mark.parametrize("path", ["/nowhere", "/static/nothing", PREDICT, "/schema"])
    def test_errors_have_a_request_id_too(self, client: Client, path: str) -> None:
        assert client.get(path).headers["x-request-id"]

    def test_threads_log_it(self, client: Client, log: io.StringIO) -> None:
        # An explanation is made in a thread.
        client.post("/", data={"text": "stumble"}, headers={"X-Request-ID": "me-2"})
        failed = next(e for e in ours(log) if e["level"] == "error")

        assert failed["request_id"] == "me-2"
        assert "RuntimeError" in str(failed["message"])


def test_no_text_is_ever_logged_or_measured(client: Client, log: io.StringIO) -> None:
    explain, batch = "/api/v1/inference/explain", "/api/v1/inference/batch_predict"
    for text in (CANARY, f"fail {CANARY}", f"stumble {CANARY}", CANARY * 200):
        client.get(PREDICT, params={"text": text})
        client.get(PREDICT, params={CANARY: text})
        client.post(PREDICT, json={"text": text})
        client.post(PREDICT, json={CANARY: text})
        client.post(explain, json={"text": text})
        client.post(batch, json=["good", text])
        client.post(batch, json={"texts": text})
        client.post("/", data={"text": text})
        client.post("/", data={"text": text}, headers={"HX-Request": "true"})
        client.post("/file", files={"file": ("a.txt", text)})
        client.post("/file/download", files={"file": (f"{CANARY}.csv", f"text\n{text}")})
        client.post(PREDICT, content=f'{{"text": "{text}'.encode())
        client.post(PREDICT, content=b'{"text": "' + text.encode() + b'\xff"}')
        client.get(f"/{CANARY}", params={"text": text})
        client.get(f"/static/{CANARY}")
        client.get(f"/api/v1/models/{CANARY}-v1")
        client.request("BREW", f"/?text={text}")
    client.get("/health", headers={"X-Request-ID": f"{CANARY} {CANARY}"})

    written = [e for e in records(log) if not str(e["logger"]).startswith(("httpx", "httpcore"))]
    failed = [entry for entry in written if entry["level"] == "error"]
    assert len(failed) >= 10
    assert all("test_logs.py" in str(entry["trace"]) for entry in failed)
    assert [entry for entry in written if CANARY in json.dumps(entry)] == []
    for path in ("/metrics", "/api/v1/metrics"):
        assert CANARY not in client.get(path).text

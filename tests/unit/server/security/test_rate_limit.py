from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.security.rate_limit import (
    MOST,
    SLOTS,
    RateLimiter,
    make_rate_limiter,
    network,
)
from pipelines.config.settings import Settings
from pipelines.errors import StorageError
from tests.unit.server.conftest import Install, load_counting_scorer

PREDICT = "/api/v1/inference/predict"
Client = TestClient[Litestar]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clients"


class TestRateLimiter:
    @pytest.mark.parametrize("burst", [1, 5])
    def test_a_burst_passes_and_one_more_does_not(
        self, file: Path, clock: Clock, burst: int
    ) -> None:
        limiter = RateLimiter(2, burst, file, clock)

        assert [limiter.take("a") for _ in range(burst)] == [0.0] * burst
        assert limiter.take("a") == pytest.approx(0.5)

    def test_after_the_wait_one_passes(self, file: Path, clock: Clock) -> None:
        limiter = RateLimiter(2, 3, file, clock)
        for _ in range(3):
            limiter.take("a")
        clock.now += limiter.take("a") + 1e-9

        assert limiter.take("a") == 0
        assert limiter.take("a") > 0

    def test_the_rate_can_be_kept_up(self, file: Path, clock: Clock) -> None:
        limiter = RateLimiter(10, 1, file, clock)
        for _ in range(100):
            assert limiter.take("a") == 0
            clock.now += 0.1 + 1e-9

    def test_a_refused_request_costs_nothing(self, file: Path, clock: Clock) -> None:
        limiter = RateLimiter(1, 1, file, clock)
        limiter.take("a")
        waits = {round(limiter.take("a"), 6) for _ in range(50)}

        assert waits == {1.0}

    def test_clients_do_not_share(self, file: Path, clock: Clock) -> None:
        limiter = RateLimiter(1, 1, file, clock)
        limiter.take("a")

        assert limiter.take("a") > 0
        assert limiter.take("b") == 0

    def test_workers_share_what_a_client_has_left(self, file: Path, clock: Clock) -> None:
        workers = [RateLimiter(1, 4, file, clock) for _ in range(3)]
        waits = [worker.take("a") for worker in workers * 2]

        assert waits == [0, 0, 0, 0, 1, 1]

    def test_processes_agree(self, file: Path) -> None:
        RateLimiter(0.001, 1, file).take("a")
        script = (
            "from pathlib import Path; "
            "from opinionlens_server.security.rate_limit import RateLimiter; "
            f"print([RateLimiter(0.001, 1, Path({str(file)!r})).take(c) > 0 for c in 'ab'])"
        )
        asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

        assert asked.stdout.strip() == "[True, False]", asked.stderr

    @pytest.mark.parametrize("passing", [0.0, 1.0])
    def test_memory_is_bounded(self, file: Path, clock: Clock, passing: float) -> None:
        limiter = RateLimiter(1, 1, file, clock)
        size = file.stat().st_size
        for number in range(3 * SLOTS):
            assert limiter.take(str(number)) == 0
            clock.now += passing
        assert limiter.take(str(number)) == pytest.approx(1 - passing)
        assert file.stat().st_size == size

    def test_few_clients_are_forgotten_where_there_is_room(self, file: Path, clock: Clock) -> None:
        limiter = RateLimiter(1, 1, file, clock)
        for number in range(SLOTS // 4):
            limiter.take(str(number))
        forgotten = sum(limiter.take(str(number)) == 0 for number in range(SLOTS // 4))
        assert forgotten < 0.01 * SLOTS

    def test_times_from_before_the_machine_started_mean_nothing(
        self, file: Path, clock: Clock
    ) -> None:
        clock.now = 10_000.0
        RateLimiter(1, 3, file, clock).take("a")
        clock.now = 5.0
        limiter = RateLimiter(1, 3, file, clock)

        assert [limiter.take("a") for _ in range(4)] == [0, 0, 0, 1]

    def test_what_costs_more_counts_more(self, file: Path, clock: Clock) -> None:
        limiter = RateLimiter(10, 5, file, clock)
        assert limiter.take("a", 100) == 0
        assert limiter.take("a") == pytest.approx(9.6)
        clock.now += 9.6 + 1e-9
        assert limiter.take("a") == 0
        # However much it costs, it can be done, and never bars anybody for long.
        assert limiter.take("b", 10**9) == 0
        assert limiter.take("b") == pytest.approx((MOST - 4) / 10)

    def test_what_is_known_later_is_counted_and_never_forgiven(
        self, file: Path, clock: Clock
    ) -> None:
        limiter = RateLimiter(10, 5, file, clock)
        assert limiter.take("a") == 0
        limiter.add("a", 100)
        assert limiter.take("a") == pytest.approx(9.7)
        for _ in range(100):
            limiter.add("a", 10**9)
        assert limiter.take("a") == pytest.approx(2 * MOST / 10)

    def test_a_file_that_cannot_be_used_is_named(self, tmp_path: Path, clock: Clock) -> None:
        with pytest.raises(StorageError, match="clients"):
            RateLimiter(1, 1, tmp_path / "nowhere" / "clients", clock)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("not:an:address", "not:an:address", True),
    ],
)
def test_a_network_of_ipv6_is_one_client(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Clock:
    """The clock of services' limits, which stands still however slow the machine is."""
    limiter = partial(make_rate_limiter, clock=clock)
    monkeypatch.setattr("opinionlens_server.services.make_rate_limiter", limiter)
    return clock


@pytest.fixture
def limited(settings: Settings, install: Install, frozen: Clock) -> Iterator[Client]:
    install(1, activate=True)
    serving = msgspec.structs.replace(settings.serving, rate_limit=0.01, rate_burst=3)
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


ASK = [
    ("GET", PREDICT, {"params": {"text": "good"}}),
    ("POST", PREDICT, {"json": {"text": "good"}}),
    ("POST", "/api/v1/inference/batch_predict", {"json": ["good"]}),
    ("POST", "/api/v1/inference/explain", {"json": {"text": "good"}}),
    ("POST", "/", {"data": {"text": "good"}}),
    ("POST", "/file", {"files": {"file": ("a.txt", "good")}}),
    ("POST", "/file/preview", {"files": {"file": ("a.txt", "good")}}),
    ("POST", "/file/download", {"files": {"file": ("a.txt", "good")}}),
]


@pytest.mark.parametrize(("method", "path", "content"), ASK)
def test_every_public_route_is_limited(
    limited: Client, frozen: Clock, method: str, path: str, content: dict[str, object]
) -> None:
    for _ in range(3):
        assert limited.request(method, path, **content).status_code == 200  # type: ignore[arg-type]
    refused = limited.request(method, path, **content)  # type: ignore[arg-type]

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "100"
    assert refused.headers["content-type"] == "application/problem+json"
    assert "Try again in" in refused.json()["detail"]
    frozen.now += 100
    assert limited.request(method, path, **content).status_code == 200  # type: ignore[arg-type]


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("in_chunks", [False, True])
def test_long_texts_count_more(settings: Settings, install: Install, in_chunks: bool) -> None:
    install(1, activate=True)
    serving = msgspec.structs.replace(
        settings.serving, rate_limit=1.0, rate_burst=2, max_text_length=100_000, max_body_size=10**6
    )
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    body = b'["' + b"good " * 18_000 + b'"]'  # counts for nine requests more
    headers = {"Content-Type": "application/json"}
    with TestClient(app) as client:
        sent = iter([body]) if in_chunks else body
        batch = "/api/v1/inference/batch_predict"
        assert client.post(batch, content=sent, headers=headers).status_code == 200
        refused = client.post(PREDICT, json={"text": "good"})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "9"


@pytest.mark.usefixtures("frozen")
def test_an_explanation_counts_by_its_length(settings: Settings, install: Install) -> None:
    install(1, activate=True)
    serving = msgspec.structs.replace(settings.serving, rate_limit=1.0, rate_burst=3)
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app) as client:
        for ask in (
            lambda: client.post("/api/v1/inference/explain", json={"text": "good " * 200}),
            lambda: client.post("/", data={"text": "good " * 200}),
        ):
            answers = [ask().status_code for _ in range(2)]
            assert answers in ([200, 429], [429, 429])


@pytest.mark.usefixtures("frozen")
def test_many_short_texts_count_more(settings: Settings, install: Install) -> None:
    install(1, activate=True)
    serving = msgspec.structs.replace(
        settings.serving, rate_limit=1.0, rate_burst=2, max_batch_size=200
    )
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app) as client:
        for send in (
            lambda: client.post("/api/v1/inference/batch_predict", json=["good"] * 200),
            lambda: client.post("/file", files={"file": ("a.txt", "good\n" * 200)}),
        ):
            assert [send().status_code for _ in range(2)] in ([200, 429], [429, 429])


def test_the_routes_share_one_limit(limited: Client) -> None:
    for _ in range(3):
        limited.post(PREDICT, json={"text": "good"})

    assert limited.post("/", data={"text": "good"}).status_code == 429


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/api/v1", "/api/v1/models"])
def test_looking_is_not_limited(limited: Client, path: str) -> None:
    assert {limited.get(path).status_code for _ in range(10)} == {200}


def test_htmx_gets_the_refusal_as_a_part_of_the_page(limited: Client) -> None:
    for _ in range(4):
        answer = limited.post("/", data={"text": "good"}, headers={"HX-Request": "true"})

    assert answer.status_code == 429
    assert "Too many requests" in answer.text
    assert "<html" not in answer.text


def test_without_a_limit_all_pass(settings: Settings, install: Install) -> None:
    install(1, activate=True)
    serving = msgspec.structs.replace(settings.serving, rate_limit=0, rate_burst=1)
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app) as client:
        statuses = {client.get(PREDICT, params={"text": "good"}).status_code for _ in range(50)}

    assert statuses == {200}


@pytest.mark.parametrize(("length", "status"), [(5000, 200), (5001, 413)])
def test_a_query_string_is_limited(
    settings: Settings, install: Install, length: int, status: int
) -> None:
    install(1, activate=True)
    serving = msgspec.structs.replace(settings.serving, max_text_length=10_000)
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app) as client:
        assert client.get(PREDICT, params={"text": "x" * length}).status_code == status
        assert client.post(PREDICT, json={"text": "x" * length}).status_code == 200

"""`olens serve` as a process with two workers over a real model cache."""

from __future__ import annotations

import json
import math
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pipelines.cache.model_cache import ModelCache
from pipelines.workflows.register import register
from tests.integration.commands import Olens
from tests.integration.tracked import METRICS, Tracked
from tests.serving import Service, client, environment, install_linear, serve
from tests.support import PATIENCE, program, wait_for

PREDICT = "/api/v1/inference/predict"
BATCH = "/api/v1/inference/batch_predict"

MARGINS = {"reviews-v1": 1.0, "reviews-v2": -2.0}
HEAVY = {
    "mlflow",
    "sklearn",
    "pandas",
    "polars",
    "skops",
    "pyarrow",
    "matplotlib",
    "optuna",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two models that tell themselves apart by their confidence."""
    root = tmp_path_factory.mktemp("project")
    for version, margin in enumerate(MARGINS.values(), start=1):
        install_linear(root / "models", version, margin)
    ModelCache(root / "models").activate("reviews-v1")
    return root


@pytest.fixture(scope="module")
def service(root: Path) -> Iterator[Service]:
    with serve(root, "--workers", "2") as service:
        yield service


def is_consistent(answer: dict[str, object]) -> bool:
    """Whether the verdict is the one of the model that the answer names."""
    margin = MARGINS[str(answer["model"])]
    confidence = 1 / (1 + math.exp(-abs(margin)))
    label = "POSITIVE" if margin > 0 else "NEGATIVE"
    return (
        answer["prediction"] == label and abs(float(str(answer["confidence"])) - confidence) < 1e-6
    )


class Load:
    """Clients that ask all the time and keep every answer with the time they asked."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self.url = url
        self.answers: list[tuple[float, list[dict[str, object]]]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        # Half of the clients open a connection per request, so that both workers are met.
        limits = httpx.Limits(max_keepalive_connections=number % 2)
        with httpx.Client(base_url=self.url, timeout=PATIENCE, limits=limits) as client:
            while not self._stop.is_set():
                asked = time.monotonic()
                single = client.post(PREDICT, json={"text": "any text"})
                batch = client.post(BATCH, json=["one", "two", "three"])
                for answer in (single, batch):
                    if answer.status_code != 200:
                        self.failures.append(answer.text)
                        continue
                    found = answer.json()
                    self.answers.append((asked, found if isinstance(found, list) else [found]))
                self._stop.wait(0.01)


def test_a_switch_reaches_all_workers_and_no_request_fails(root: Path, service: Service) -> None:
    cache = ModelCache(root / "models")
    settled = []
    with Load(service.url) as load:
        for model in ("reviews-v2", "reviews-v1"):
            cache.activate(model)
            wait_for(lambda model=model: list(service.loaded.values()) == [model] * 2)
            begin = time.monotonic()
            time.sleep(0.5)
            settled.append((begin, time.monotonic(), model))

    assert load.failures == []
    assert len(load.answers) > 100
    for asked, answers in load.answers:
        assert len({answer["model"] for answer in answers}) == 1
        assert all(is_consistent(answer) for answer in answers)
        for begin, end, model in settled:
            # What is asked shortly before the next switch may be answered after it.
            if begin < asked < end - 0.25:
                assert answers[0]["model"] == model
    assert {answers[0]["model"] for _, answers in load.answers} == set(MARGINS)


def test_the_printed_lines_work_as_they_stand(root: Path, service: Service) -> None:
    program("curl")
    ModelCache(root / "models").activate("reviews-v1")
    printed = re.findall(r"^  ((?:export|curl) .*)$", service.log.read_text(), flags=re.MULTILINE)
    assert len(printed) == 2

    answer = subprocess.run(
        ["sh", "-c", "\n".join([printed[0], printed[1].replace("curl", "curl -sS", 1)])],
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.returncode == 0
    assert "status" not in json.loads(answer.stdout), answer.stdout


def test_the_curl_lines_of_the_api_work_as_they_stand(service: Service) -> None:
    program("curl")
    routes = httpx.get(f"{service.url}/api/v1", timeout=PATIENCE).json()
    for route in routes:
        if route["admin"]:
            continue
        answer = subprocess.run(
            ["sh", "-c", route["curl"].replace("curl", "curl -sS --fail", 1)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, (route["curl"], answer.stderr)
        # Prometheus has a format of its own.
        assert (
            "# TYPE" in answer.stdout if route["path"] == "/metrics" else json.loads(answer.stdout)
        )


def test_the_command_line_switches_the_model_of_a_running_service(
    root: Path, service: Service
) -> None:
    cache = ModelCache(root / "models")
    for model in ("reviews-v2", "reviews-v1"):
        cache.activate(model)
        wait_for(lambda model=model: answering(service.url) == {model})


def test_a_broken_model_changes_nothing(root: Path, service: Service) -> None:
    cache = ModelCache(root / "models")
    cache.activate("reviews-v1")
    wait_for(lambda: answering(service.url) == {"reviews-v1"})

    (root / "models" / "active.json").write_text('{"id": "nothing-v1"}')
    wait_for(lambda: "nothing-v1" in str(ready(service.url)["problem"]))
    assert answering(service.url) == {"reviews-v1"}

    cache.activate("reviews-v1")
    wait_for(lambda: ready(service.url)["problem"] is None)


def test_a_model_of_the_registry_answers_over_http(tracked: Tracked) -> None:
    register(tracked.settings, "served", tracked.model_id, alias="champion")
    with serve(tracked.settings.root) as service:
        header = {"Authorization": f"Bearer {service.token}"}
        models = f"{service.url}/api/v1/models"

        offered = httpx.get(f"{models}/registry", headers=header, timeout=PATIENCE).json()
        assert "served" in [model["name"] for model in offered]
        wanted = {"model_name": "served", "alias": "champion", "set_default": True}
        fetched = httpx.post(models, json=wanted, headers=header, timeout=PATIENCE)
        assert fetched.status_code == 201, fetched.text
        assert fetched.json()["metrics"] == METRICS

        wait_for(lambda: answering(service.url) == {fetched.json()["id"]})
        answer = httpx.post(
            service.url + PREDICT, json={"text": "good, very good"}, timeout=PATIENCE
        ).json()
        assert answer["prediction"] == "POSITIVE"


def test_it_takes_up_its_first_model_while_it_runs(tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        assert answering(service.url) == {"base"}

        install_linear(tmp_path / "models", 1, MARGINS["reviews-v1"])
        ModelCache(tmp_path / "models").activate("reviews-v1")
        wait_for(lambda: answering(service.url) == {"reviews-v1"})


@pytest.mark.parametrize(("workers", "end"), [("1", signal.SIGINT), ("2", signal.SIGTERM)])
def test_it_ends_cleanly_after_what_is_in_flight(
    root: Path, workers: str, end: signal.Signals
) -> None:
    with serve(root, "--workers", workers) as service:
        wait_for(
            lambda: httpx.get(f"{service.url}/health/ready", timeout=PATIENCE).status_code == 200
        )
        texts = ["a long text about nothing at all " * 60] * 5000
        connection = HTTPConnection(urlsplit(service.url).netloc, timeout=PATIENCE)
        # Most of it must have been read when this returns: no buffer takes 10 MB.
        connection.request("POST", BATCH, json.dumps(texts), {"Content-Type": "application/json"})
        service.process.send_signal(end)
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.load(answer)) == 5000
        connection.close()
        assert service.process.wait(timeout=PATIENCE) == 0
    assert "Traceback" not in service.log.read_text()


def test_a_port_in_use_is_one_clear_sentence(root: Path, olens: Olens) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = olens("--root", str(root), "serve", "--port", port)

    assert ended.code == 1
    assert f"Port {port} on 127.0.0.1 is in use" in ended.message
    assert "Traceback" not in ended.err


def test_a_linear_model_is_served_without_mlflow_and_scikit_learn(root: Path) -> None:
    script = f"""
import sys
from litestar.testing import TestClient
from opinionlens_server.app import create_app
with TestClient(create_app(), base_url="http://127.0.0.1") as client:
    assert client.get("/").status_code == 200
    assert client.post({PREDICT!r}, json={{"text": "good"}}).status_code == 200
    assert client.post({BATCH!r}, json=["good"]).status_code == 200
    assert client.get("/api/v1/models").status_code == 200
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(root),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert "numba" in loaded
    assert HEAVY.isdisjoint(loaded)


def answering(url: str) -> set[str]:
    """The models that answer twenty requests over connections of their own."""
    with client(url) as asking:
        asked = (asking.post(PREDICT, json={"text": "any"}) for _ in range(20))
        return {str(answer.json().get("model")) for answer in asked}


def ready(url: str) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{url}/health/ready", timeout=PATIENCE).json()
    return found

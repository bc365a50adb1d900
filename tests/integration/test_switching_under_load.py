"""The active model is switched again and again while two workers are kept busy."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from pipelines.cache.model_cache import ModelCache
from tests.connections import Connection
from tests.serving import Service, install_linear, serve
from tests.support import require, wait_for

MARGINS: Final = {"reviews-v1": 1.0, "reviews-v2": -2.0, "reviews-v3": 0.5}
CONNECTIONS: Final = 32
REQUESTS: Final = 4_000
SWITCHES: Final = 25
PAUSE: Final = 0.4
"""Seconds between two switches: workers look twice a second."""

PREDICT: Final = "/api/v1/inference/predict"
BATCH: Final = "/api/v1/inference/batch_predict"


@pytest.mark.slow
def test_no_request_fails_and_memory_stays_flat(tmp_path: Path) -> None:
    require(sys.platform == "linux", "memory of processes is read from /proc, which is Linux's")
    cache = ModelCache(tmp_path / "models")
    for version, margin in enumerate(MARGINS.values(), start=1):
        install_linear(cache.folder, version, margin)
    cache.activate("reviews-v1")

    with serve(tmp_path, "--workers", "2") as service:
        wait_for_explanations(service.process.pid)
        load = Load(service.url)
        early, late = asyncio.run(load.run(cache, service))

    assert load.failures == []
    assert load.requests >= REQUESTS
    assert set(load.models) == set(MARGINS)
    assert early.keys() == late.keys(), "a worker was replaced"
    for worker, before in early.items():
        assert late[worker] < 1.1 * before


class Load:
    """Asks over many connections, three of four times for one text, else for a batch."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = 0
        self.failures: list[str] = []
        self.models: Counter[str] = Counter()
        self._switched = False

    async def run(
        self, cache: ModelCache, service: Service
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Ask while models are switched; the workers' memory after 5 switches and after all."""
        async with asyncio.TaskGroup() as clients:
            for _ in range(CONNECTIONS):
                clients.create_task(self._ask())
            for number in range(1, SWITCHES + 1):
                cache.activate(f"reviews-v{1 + number % len(MARGINS)}")
                await asyncio.sleep(PAUSE)
                if number == 5:
                    early = workers_memory(service.process.pid)
            self._switched = True
        return early, workers_memory(service.process.pid)

    async def _ask(self) -> None:
        connection = await Connection.open(self.url)
        while not self._switched or self.requests < REQUESTS:
            # These are enough: other tests want the machine, too.
            await asyncio.sleep(PAUSE / 10 if self.requests > REQUESTS else 0)
            self.requests += 1
            if self.requests % 4:
                status, body = await connection.post(PREDICT, b'{"text": "any text"}')
            else:
                status, body = await connection.post(BATCH, b'["one", "two", "three"]')
            self._check(status, body)
        await connection.close()

    def _check(self, status: int, body: bytes) -> None:
        found = json.loads(body)
        answers = found if isinstance(found, list) else [found]
        models = {answer.get("model") for answer in answers}
        if status != 200 or len(models) != 1 or not all(map(is_consistent, answers)):
            self.failures.append(f"{status} {body!r}")
        self.models.update(models)


def is_consistent(answer: dict[str, object]) -> bool:
    """Whether the verdict is the one of the model that the answer names."""
    margin = MARGINS[str(answer["model"])]
    confidence = 1 / (1 + math.exp(-abs(margin)))
    label = "POSITIVE" if margin > 0 else "NEGATIVE"
    return (
        answer["prediction"] == label and abs(float(str(answer["confidence"])) - confidence) < 1e-6
    )


def wait_for_explanations(supervisor: int) -> None:
    """Wait until the workers have what they load once, soon after their start: spaCy."""

    def loaded() -> int:
        return sum(
            "/spacy/" in Path(f"/proc/{child}/maps").read_text() for child in _of(supervisor)
        )

    wait_for(lambda: loaded() == 2, "the workers do not get ready to explain")


def workers_memory(supervisor: int) -> dict[int, int]:
    """Resident bytes of the processes that serve, by their ID."""
    found = {}
    for child in _of(supervisor):
        status = Path(f"/proc/{child}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        # Besides the workers there is the tracker of shared resources, which is small.
        if (size := int(fields["VmRSS"].split()[0]) * 1024) > 50_000_000:
            found[child] = size
    return found


def _of(supervisor: int) -> list[int]:
    """The processes that it has started."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
    return [int(child) for child in children.split()]

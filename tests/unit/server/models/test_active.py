from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from numpy.typing import NDArray

from opinionlens_server.backoff import Backoff
from opinionlens_server.models.active import ActiveModel
from opinionlens_server.models.predictor import Predictor
from opinionlens_server.observability.metrics import Metrics
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Serving
from pipelines.errors import NoActiveModelError
from tests.support import PATIENCE
from tests.unit.server.conftest import CountingScorer, Install, load_counting_scorer


def refresh(active: ActiveModel) -> str | None:
    asyncio.run(active.refresh())
    return active.loaded.info.id if active.loaded else None


def test_it_follows_the_cache(cache: ModelCache, install: Install) -> None:
    active = ActiveModel(cache, load_counting_scorer)
    install(1, activate=True)
    assert refresh(active) == "reviews-v1"
    install(2, activate=True)
    assert refresh(active) == "reviews-v2"
    cache.activate("reviews-v1")
    assert refresh(active) == "reviews-v1"


def test_an_unchanged_cache_loads_nothing(cache: ModelCache, install: Install) -> None:
    loads = []

    def load(entry: Path) -> CountingScorer:
        loads.append(entry.name)
        return CountingScorer(0)

    active = ActiveModel(cache, load)
    install(1, activate=True)
    for _ in range(3):
        refresh(active)

    assert loads == ["reviews-v1"]


def test_a_request_keeps_the_model_it_began_with(cache: ModelCache, install: Install) -> None:
    active = ActiveModel(cache, load_counting_scorer)
    install(1, activate=True)
    refresh(active)
    taken = active.require()
    install(2, activate=True)
    refresh(active)

    assert (taken.info.id, active.require().info.id) == ("reviews-v1", "reviews-v2")


@pytest.mark.parametrize("failure", [ValueError("unexpected"), MemoryError("no room")])
def test_a_model_that_cannot_be_loaded_replaces_nothing(
    cache: ModelCache, install: Install, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def load(entry: Path) -> CountingScorer:
        if entry.name == "reviews-v2":
            raise failure
        return CountingScorer(0)

    active = ActiveModel(cache, load)
    install(1, activate=True)
    refresh(active)
    install(2, activate=True)

    with caplog.at_level(logging.WARNING):
        assert refresh(active) == "reviews-v1"
    assert str(failure) in str(active.problem)
    assert "reviews-v1 stays loaded" in caplog.text

    cache.activate("reviews-v1")
    assert refresh(active) == "reviews-v1"
    assert active.problem is None


def test_what_failed_once_is_tried_again_after_growing_pauses(
    cache: ModelCache, install: Install
) -> None:
    attempts = []
    now = 0.0

    def load(entry: Path) -> CountingScorer:
        attempts.append(entry.name)
        if entry.name == "reviews-v2" and now < 6:
            raise OSError(24, "Too many open files")
        return CountingScorer(0)

    active = ActiveModel(cache, load)
    active._retrying = Backoff(clock=lambda: now)
    install(1, activate=True)
    refresh(active)
    install(2, activate=True)
    assert refresh(active) == "reviews-v1"
    assert active.behind
    for tenth in range(100):
        now = tenth / 10
        refresh(active)

    # At once, after 1 s, and 2 s and 4 s later.
    assert attempts == ["reviews-v1", *["reviews-v2"] * 4]
    assert refresh(active) == "reviews-v2"
    assert not active.behind
    assert active.problem is None


def test_a_cache_that_has_gone_does_not_bring_back_the_base_model(
    cache: ModelCache, install: Install, tmp_path: Path
) -> None:
    memory = tmp_path / "answering"
    active = ActiveModel(cache, load_counting_scorer, memory)
    install(1, activate=True)
    refresh(active)
    cache.folder.rename(tmp_path / "away")
    for folder_is_back in (False, True):  # as a mount point is when nothing is mounted
        if folder_is_back:
            cache.folder.mkdir()
        assert refresh(active) == "reviews-v1"
        assert "not mounted" in str(active.problem)
        assert not active.behind

    # Nor does it in a worker that is started meanwhile.
    replaced = ActiveModel(cache, load_counting_scorer, memory)
    replaced._retrying = Backoff(first=0)
    assert refresh(replaced) is None
    assert "not mounted" in str(replaced.problem)

    cache.folder.rmdir()
    (tmp_path / "away").rename(cache.folder)
    assert refresh(active) == refresh(replaced) == "reviews-v1"
    cache.deactivate()
    assert refresh(active) == refresh(replaced) == "base"


@pytest.mark.parametrize("content", ["", "{", '{"id": "reviews-v9"}', '{"id": 3}', "\xff"])
def test_a_broken_pointer_keeps_the_model(
    cache: ModelCache, install: Install, content: str
) -> None:
    active = ActiveModel(cache, load_counting_scorer)
    install(1, activate=True)
    refresh(active)
    (cache.folder / "active.json").write_text(content)

    assert refresh(active) == "reviews-v1"
    assert active.problem


def test_until_a_model_is_active_the_base_model_answers(
    cache: ModelCache, install: Install
) -> None:
    active = ActiveModel(cache, load_counting_scorer)
    assert refresh(active) == "base"

    install(1)
    assert refresh(active) == "base"

    cache.activate("reviews-v1")
    assert refresh(active) == "reviews-v1"


@pytest.mark.parametrize("content", ["", '{"id": "reviews-v9"}'])
def test_without_a_usable_active_model_it_says_what_to_do(
    cache: ModelCache, install: Install, content: str
) -> None:
    install(1)
    (cache.folder / "active.json").write_text(content)
    active = ActiveModel(cache, load_counting_scorer)
    refresh(active)

    with pytest.raises(NoActiveModelError, match="olens fetch NAME --activate"):
        active.require()


@pytest.mark.parametrize(
    ("kind", "length", "inline"),
    [("linear", 20_000, True), ("linear", 20_001, False), ("pipeline", 4, False)],
)
def test_only_what_takes_microseconds_runs_on_the_event_loop(
    cache: ModelCache, install: Install, kind: str, length: int, inline: bool
) -> None:
    threads = []

    class Scorer(CountingScorer):
        def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
            threads.append(threading.current_thread())
            return super().predict(texts)

    scorer = Scorer(0)
    scorer.kind = kind
    active = ActiveModel(cache, lambda entry: scorer)
    install(1, activate=True)
    refresh(active)
    predictor = Predictor(active, Serving(), Metrics(active))
    asyncio.run(predictor.predict("x" * length))

    assert (threads[-1] is threading.main_thread()) is inline


def test_the_watch_outlives_errors(
    cache: ModelCache, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    active = ActiveModel(cache, load_counting_scorer)
    install(1, activate=True)
    stamp, calls = cache.active_stamp, []

    def fail_once() -> object:
        calls.append(1)
        if len(calls) == 1:
            raise PermissionError("the folder is not yours")
        return stamp()

    monkeypatch.setattr(cache, "active_stamp", fail_once)

    async def watch() -> None:
        task = asyncio.create_task(active.watch(interval=0.001))
        while active.loaded is None:
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(asyncio.wait_for(watch(), PATIENCE))
    assert active.require().info.id == "reviews-v1"


class TestHealth:
    def test_alive_without_a_model(self, empty_client: TestClient[Litestar]) -> None:
        assert empty_client.get("/health").json() == {"status": "ok"}
        ready = empty_client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["status"] == "unavailable"
        assert "olens fetch" in ready.json()["problem"]

    def test_ready_with_a_model(self, client: TestClient[Litestar]) -> None:
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json() == {"status": "ready", "model": "reviews-v1", "problem": None}

    def test_a_failed_switch_is_shown(
        self, client: TestClient[Litestar], app: Litestar, install: Install
    ) -> None:
        install(1, name="broken", activate=True)
        with client.portal() as portal:
            portal.call(app.state.services.active_model.refresh)

        ready = client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["status"] == "behind"
        assert ready.json()["model"] == "reviews-v1"
        assert "broken-v1 is damaged" in ready.json()["problem"]

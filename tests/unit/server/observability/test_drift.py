"""Drift of a running service: what is counted, for whom, and where it is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import msgspec
import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from opinionlens_server.app import create_app
from opinionlens_server.observability.drift import ENOUGH
from opinionlens_server.security.sessions import SESSION_COOKIE
from opinionlens_server.services import Services
from pipelines.config.settings import Settings
from pipelines.inference.profiling import profile_judged
from pipelines.labels import BINARY
from tests.unit.server.conftest import CountingScorer, Install, load_counting_scorer

BATCH = "/api/v1/inference/batch_predict"
PREDICT = "/api/v1/inference/predict"
Client = TestClient[Litestar]


def reviews(seed: int, n: int, longest: int = 20) -> list[str]:
    random = np.random.default_rng(seed)
    return [
        " ".join(random.choice(["good", "bad", "film", "plot"], random.integers(1, longest)))
        for _ in range(n)
    ]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    serving = msgspec.structs.replace(
        settings.serving,
        max_batch_size=1_000,
        max_body_size=1_000_000,
        rate_limit=0,
        state_folder=str(tmp_path / "state"),
    )
    return msgspec.structs.replace(settings, serving=serving)


@pytest.fixture
def make_client(settings: Settings, install: Install) -> Iterator[Callable[[], Client]]:
    """Makes workers of one service, whose model has a profile."""
    judged = CountingScorer(bias=0.1).judge(reviews(0, 500))
    install(1, activate=True, profile=profile_judged({"mine": judged}, BINARY.names))
    clients: list[Client] = []

    def make() -> Client:
        client = TestClient(create_app(settings, load_counting_scorer))
        clients.append(client.__enter__())
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def drift(client: Client) -> dict[str, float]:
    """The metrics of drift, by name and feature."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        " ".join(
            [sample.name.removeprefix("opinionlens_drift_"), *sample.labels.values()]
        ): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("opinionlens_drift")
    }


def over(found: dict[str, float]) -> set[str]:
    """The features above their limit."""
    features = [name.removeprefix("psi ") for name in found if name.startswith("psi ")]
    return {name for name in features if found[f"psi {name}"] > found[f"limit {name}"]}


def page(client: Client) -> str:
    services: Services = client.app.state.services
    cookie = services.sessions.cookie(services.sessions.open("admin"), False)
    client.cookies.set(SESSION_COOKIE, str(cookie.value))
    return unescape(client.get("/admin/service").text)


def test_texts_of_another_kind_are_seen_within_1000(make_client: Callable[[], Client]) -> None:
    client = make_client()
    client.post(BATCH, json=reviews(1, ENOUGH - 1))
    assert drift(client) == {"measured": 1, "texts": ENOUGH - 1}
    assert f"{ENOUGH - 1} of the {ENOUGH} texts" in page(client)

    client.post(PREDICT, json={"text": "good plot"})
    for seed in range(2, 12):
        client.post(BATCH, json=reviews(seed, 1_000))
        found = drift(client)
        assert over(found) == set()
    assert found["texts"] == 1_000
    assert "No drift: the newest 1,000 texts" in page(client)

    client.post(BATCH, json=reviews(12, 1_000, longest=60))
    assert "words" in over(drift(client))
    said = page(client)
    assert "The newest 1,000 texts are others than those that the model was made for" in said
    assert "length in words" in said
    assert "olens label" in said


def test_the_texts_of_all_workers_count_together(make_client: Callable[[], Client]) -> None:
    one, other = make_client(), make_client()
    one.post(BATCH, json=reviews(1, 200))
    other.post(BATCH, json=reviews(2, 200, longest=60))
    drift(one), drift(other)  # each tells the other what it has seen

    assert drift(one)["texts"] == 400
    assert drift(one) == drift(other)


def test_texts_that_people_look_at_do_not_count(make_client: Callable[[], Client]) -> None:
    client = make_client()
    client.post("/", data={"text": "good"}, headers={"HX-Request": "true"})
    client.post("/api/v1/inference/explain", json={"text": "good"})
    client.post("/file", files={"file": ("texts.txt", "good\nbad\n")})

    assert drift(client)["texts"] == 0


def test_another_model_begins_anew(
    make_client: Callable[[], Client], install: Install, admin: dict[str, bytes]
) -> None:
    install(2)
    client = make_client()
    client.post(BATCH, json=reviews(1, 500))
    client.put("/api/v1/models/active", json={"id": "reviews-v2"}, headers=admin)
    client.post(BATCH, json=reviews(1, 500))

    assert drift(client) == {"measured": 0, "texts": 0}
    assert "this model does not say what its texts should look like" in page(client)


def test_no_text_is_kept(make_client: Callable[[], Client], settings: Settings) -> None:
    client = make_client()
    client.post(BATCH, json=["canarybird"] * ENOUGH)

    assert drift(client)["texts"] == ENOUGH
    kept = [path.read_bytes() for path in Path(settings.serving.state_folder).glob("state.db*")]
    assert kept
    assert not any(b"canarybird" in content for content in kept)

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.models.active import ActiveModel
from opinionlens_server.models.following import Follower, Target, parse_follow
from opinionlens_server.observability.metrics import Metrics
from opinionlens_server.security.sessions import SESSION_COOKIE
from opinionlens_server.shared_state import SharedState
from pipelines import errors
from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Settings
from pipelines.registry.client import Registry
from pipelines.registry.versions import MANIFEST_TAG, RegisteredVersion
from pipelines.workflows import fetch
from tests.support import PATIENCE
from tests.unit.server.conftest import Install, load_counting_scorer

FOLLOW = "reviews@champion"


class FakeRegistry:
    """A registry whose alias can be moved and which can be down."""

    def __init__(self, install: Install) -> None:
        self.name, self.version, self.digest = "reviews", 1, "a"
        self.down: Exception | None = None
        self.refusal: Exception | None = None
        self.downloads: list[str] = []
        self._install = install

    def resolve(
        self, registry: Registry, name: str, version: int | None = None, alias: str | None = None
    ) -> RegisteredVersion:
        assert (name, alias) == ("reviews", "champion")
        if self.down:
            raise self.down
        return RegisteredVersion(
            name=self.name,
            version=self.version,
            created=datetime(2026, 5, 4, tzinfo=UTC),
            source="test",
            tags={MANIFEST_TAG: self.digest},
        )

    def fetch(self, settings: Settings, name: str, version: int | None) -> CachedModel:
        assert version
        self.downloads.append(f"{name}-v{version}")
        if self.refusal:
            raise self.refusal
        return self._install(version, name=name)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, install: Install) -> FakeRegistry:
    fake = FakeRegistry(install)
    monkeypatch.setattr(Registry, "resolve", lambda self, *a, **kw: fake.resolve(self, *a, **kw))
    monkeypatch.setattr(fetch, "fetch_model", fake.fetch)
    return fake


@pytest.fixture
def settings(settings: Settings) -> Settings:
    serving = msgspec.structs.replace(settings.serving, follow=FOLLOW, follow_interval=0.01)
    return msgspec.structs.replace(settings, serving=serving)


@pytest.fixture
def active_model(cache: ModelCache) -> ActiveModel:
    return ActiveModel(cache, load_counting_scorer)


@pytest.fixture
def follower(settings: Settings, active_model: ActiveModel) -> Follower:
    metrics = Metrics(active_model)
    return Follower(Target("reviews", "champion"), settings, active_model, metrics, SharedState())


def answering(active_model: ActiveModel) -> str:
    return active_model.require().info.id


def look(follower: Follower) -> str | None:
    asyncio.run(follower.check())
    return follower.status().problem


@pytest.mark.parametrize(
    ("setting", "target"),
    [("", None), ("reviews@champion", Target("reviews", "champion"))],
)
def test_the_setting_names_model_and_alias(setting: str, target: Target | None) -> None:
    assert parse_follow(setting) == target


def test_the_version_of_the_alias_answers(
    follower: Follower, registry: FakeRegistry, active_model: ActiveModel
) -> None:
    assert look(follower) is None
    assert answering(active_model) == "reviews-v1"

    registry.version = 2
    assert look(follower) is None
    assert answering(active_model) == "reviews-v2"

    # Back again: it is in the cache.
    registry.version = 1
    assert look(follower) is None
    assert answering(active_model) == "reviews-v1"
    status = follower.status()
    assert (status.follows, status.model, status.problem) == (FOLLOW, "reviews-v1", None)
    assert status.checked


def test_an_alias_that_stays_downloads_nothing(follower: Follower, registry: FakeRegistry) -> None:
    for _ in range(5):
        look(follower)
    assert registry.downloads == ["reviews-v1"]


@pytest.mark.parametrize(
    "failure",
    [
        errors.RegistryUnavailableError("nobody answers"),
        errors.RegistryAuthError("wrong password"),
        errors.ModelNotFoundError("there is no such alias"),
        ValueError("nonsense"),
    ],
)
def test_a_registry_that_is_down_changes_nothing(
    follower: Follower,
    registry: FakeRegistry,
    active_model: ActiveModel,
    failure: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    look(follower)
    registry.down = failure
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert str(failure) in str(look(follower))
    assert answering(active_model) == "reviews-v1"
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "reviews-v1 stays loaded" in warnings[0].getMessage()

    registry.down, registry.version = None, 2
    assert look(follower) is None
    assert answering(active_model) == "reviews-v2"


def test_a_broken_version_is_reported_and_downloaded_once(
    follower: Follower, registry: FakeRegistry, active_model: ActiveModel
) -> None:
    look(follower)
    registry.version = 2
    registry.refusal = errors.UnsafeModelError("it is a pickle")
    for _ in range(3):
        assert look(follower) == "it is a pickle"
    assert answering(active_model) == "reviews-v1"
    assert registry.downloads == ["reviews-v1", "reviews-v2"]

    registry.down = errors.RegistryUnavailableError("nobody answers")
    assert look(follower) == "nobody answers"
    registry.down = None
    assert look(follower) == "it is a pickle"

    # Repaired in the registry: other files under the same number.
    registry.refusal, registry.digest = None, "b"
    assert look(follower) is None
    assert answering(active_model) == "reviews-v2"


def test_a_version_that_cannot_be_loaded_never_becomes_active(
    follower: Follower, registry: FakeRegistry, active_model: ActiveModel, cache: ModelCache
) -> None:
    look(follower)
    registry.name = "broken"
    assert look(follower) == "broken-v1 is damaged"
    active = cache.active()
    assert active
    assert active.id == "reviews-v1"
    assert active_model.problem is None


def test_a_full_disk_is_tried_again(
    follower: Follower, registry: FakeRegistry, active_model: ActiveModel
) -> None:
    registry.refusal = errors.StorageError("the disk is full")
    assert look(follower) == "the disk is full"
    registry.refusal = None
    assert look(follower) is None
    assert answering(active_model) == "reviews-v1"


def test_one_worker_follows_until_it_ends(
    settings: Settings, active_model: ActiveModel, registry: FakeRegistry
) -> None:
    shared = SharedState()
    metrics = Metrics(active_model)
    target = Target("reviews", "champion")
    looks: list[str] = []

    def worker(name: str) -> Follower:
        follower = Follower(target, settings, active_model, metrics, shared)

        async def note() -> None:
            looks.append(name)

        follower.check = note  # type: ignore[method-assign]
        return follower

    async def run() -> None:
        first = asyncio.create_task(worker("first").watch())
        await _until(lambda: len(looks) > 2)
        second = asyncio.create_task(worker("second").watch())
        await asyncio.sleep(0.1)
        assert set(looks) == {"first"}
        first.cancel()
        await _until(lambda: "second" in looks)
        second.cancel()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_its_state_is_on_the_page_in_readiness_and_metrics(
    settings: Settings, registry: FakeRegistry
) -> None:
    registry.refusal = errors.UnsafeModelError("it is a pickle")
    app = create_app(settings, load_counting_scorer)
    with TestClient(app) as client:
        for _ in range(500):
            ready = client.get("/health/ready").json()
            if ready["following"]["problem"]:
                break
        assert ready["following"]["follows"] == FOLLOW
        assert ready["following"]["model"] == "reviews-v1"
        assert ready["following"]["problem"] == "it is a pickle"
        assert "opinionlens_following_ok 0.0" in client.get("/metrics").text
        session = app.state.services.sessions.open("admin")
        client.cookies.set(
            SESSION_COOKIE, str(app.state.services.sessions.cookie(session, False).value)
        )
        assert "Following reviews@champion has a problem" in client.get("/admin").text
        assert "it is a pickle" in client.get("/admin").text

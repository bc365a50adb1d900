"""`olens doctor` compares every file of the model cache."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Paths, Settings
from pipelines.registry.versions import RegisteredVersion
from pipelines.workflows import doctor
from tests.unit.cache.conftest import download, prepare


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, paths=Paths(models=tmp_path / "models"))


def test_a_change_that_the_quick_check_does_not_read_is_found(settings: Settings) -> None:
    cache = ModelCache(settings.paths.models)
    for number in (1, 2):
        version = RegisteredVersion(
            name="reviews", version=number, created=datetime.now(UTC), source="a registry"
        )
        cache.install(version, download, prepare)
    assert doctor._cache(settings).state == "ok"

    (cache.folder / "reviews-v2" / "model" / "figures" / "roc.svg").write_bytes(b"<SVG/>")

    assert cache.get("reviews-v2")
    found = doctor._cache(settings)
    assert found.state == "broken"
    assert "reviews-v2 is damaged" in found.detail
    assert "reviews-v1" not in found.detail


def test_an_empty_cache_is_fine(settings: Settings) -> None:
    assert doctor._cache(settings).state == "ok"

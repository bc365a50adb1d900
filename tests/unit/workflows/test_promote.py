from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from pipelines.config.settings import Paths, Settings
from pipelines.errors import InputError, ModelNotFoundError
from pipelines.registry.client import Registry
from pipelines.registry.versions import RegisteredVersion
from pipelines.workflows.promote import FORCED_TAG, ReadSlices, promote
from tests.serving import install_linear

TEXTS = {"mine": pl.DataFrame({"text": ["good", "bad"] * 50, "label": [1, 0] * 50})}


def reading(texts: dict[str, pl.DataFrame]) -> ReadSlices:
    return lambda classes: texts


class FakeRegistry:
    """Knows which version has the alias, and the tags of the versions."""

    def __init__(self, champion: int | None) -> None:
        self.champion = champion
        self.tags: dict[int, str] = {}

    def resolve(
        self, name: str, version: int | None = None, alias: str | None = None
    ) -> RegisteredVersion:
        found = version or self.champion
        if found is None:
            raise ModelNotFoundError(f"no alias {alias!r}")
        return RegisteredVersion(name=name, version=found, created=datetime.now(UTC), source="")

    def point(self, name: str, version: int, alias: str, tags: Mapping[str, str]) -> None:
        self.champion = version
        self.tags[version] = tags[FORCED_TAG]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cache with a model that knows both words, and a second one that has forgotten "bad"."""
    paths = Paths(models=tmp_path / "models", reports=tmp_path / "reports")
    install_linear(paths.models, 1, 0.1, {"good": 2.0, "bad": -2.0})
    install_linear(paths.models, 2, 0.1, {"good": 2.0})
    return Settings(root=tmp_path, paths=paths)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    fake = FakeRegistry(champion=1)
    monkeypatch.setattr(Registry, "resolve", lambda _, *a, **k: fake.resolve(*a, **k))
    monkeypatch.setattr(Registry, "point", lambda _, *a: fake.point(*a))
    return fake


def test_a_worse_model_needs_force(settings: Settings, registry: FakeRegistry) -> None:
    with pytest.raises(InputError, match=r"falls on mine: -50\.0 points .* and -0\.5 are allowed"):
        promote(settings, "reviews/2", "champion", reading(TEXTS))
    assert registry.champion == 1
    report = (settings.paths.reports / "comparison.md").read_text()
    assert "| mine | 100 | 50.0% | 100.0% | -50.0 |" in report
    assert re.search(r"\| reviews-v2 \| [1-9][\d,]* \| 0\.\d+ MB \|", report)

    forced = promote(settings, "reviews/2", "champion", reading(TEXTS), force=True)
    assert (forced.before, forced.version, forced.forced) == (1, 2, True)
    assert registry.champion == 2
    assert registry.tags[2].startswith("champion forced: mine")


def test_a_better_model_and_the_first_one_pass(settings: Settings, registry: FakeRegistry) -> None:
    registry.champion = 2
    assert not promote(settings, "reviews/1", "champion", reading(TEXTS)).forced
    assert (registry.champion, registry.tags[1]) == (1, "champion passed")

    registry.champion = None
    assert promote(settings, "reviews/2", "champion", reading(TEXTS)).report is None


def test_a_fall_within_chance_is_none(settings: Settings, registry: FakeRegistry) -> None:
    few = {"mine": TEXTS["mine"].head(6)}

    assert not promote(settings, "reviews/2", "champion", reading(few)).forced


@pytest.mark.parametrize("model", ["reviews", "base", "reviews/1"])
def test_what_cannot_be_promoted_is_said(
    settings: Settings, registry: FakeRegistry, model: str
) -> None:
    with pytest.raises(InputError, match=r"names no version|is version 1 of reviews already"):
        promote(settings, model, "champion", reading(TEXTS))

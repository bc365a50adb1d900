"""A cache in a temporary folder, and a small model to install."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.cache.model_cache import ModelCache
from pipelines.registry.manifest import MANIFEST_TAG, write_manifest
from pipelines.registry.versions import RegisteredVersion

FILES = {
    "MLmodel": b"flavors: {sklearn: {serialization_format: skops}}\n",
    "model.skops": bytes(range(256)) * 40,
    "figures/roc.svg": b"<svg/>",
}


def write_model(folder: Path, files: dict[str, bytes] = FILES) -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return write_manifest(folder)


def download(folder: Path) -> None:
    write_model(folder)


def prepare(entry: Path) -> None:
    (entry / "scorer.safetensors").write_bytes(b"weights" * 100)


@pytest.fixture(scope="session")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SHA-256 of the manifest of the model that `download` writes."""
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "models")


@pytest.fixture
def registered(digest: str) -> Callable[..., RegisteredVersion]:
    """Makes a registered version whose files are those of `download`."""

    def make(name: str = "reviews", version: int = 1, **changes: object) -> RegisteredVersion:
        fields: dict[str, object] = {
            "created": datetime(2026, 1, 2, tzinfo=UTC),
            "source": "http://registry.example",
            "aliases": ["champion"],
            "metrics": {"accuracy": 0.9},
            "tags": {MANIFEST_TAG: digest},
        }
        return RegisteredVersion(name=name, version=version, **(fields | changes))  # type: ignore[arg-type]

    return make

"""A small model cache, and the service over it with a scorer that needs no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from numpy.typing import NDArray

from opinionlens_server.app import create_app
from pipelines.base_model.opening import FOLDERS
from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.config.params import Language
from pipelines.config.settings import Paths, Serving, Settings
from pipelines.errors import CorruptModelError
from pipelines.inference.evidence import Judgement, judgement
from pipelines.inference.explaining import explain_by_occlusion
from pipelines.inference.explanation import Explanation
from pipelines.labels import BINARY
from pipelines.registry.manifest import write_manifest
from pipelines.registry.versions import RegisteredVersion
from pipelines.training.text_profile import TextProfile, write_profile

TOKEN = "a secret of its own, größer als nötig"
LIMITS = Serving(
    admin_token=TOKEN,
    allowed_hosts=("testserver.local",),
    max_text_length=1000,
    max_batch_size=5,
    max_body_size=20_000,
    max_file_rows=4_000,
)

Install = Callable[..., CachedModel]


class CountingScorer:
    """Counts "good" and "bad"; `bias` tells the models of a test apart."""

    kind = "linear"
    classes = BINARY
    language: Language = "en"

    def __init__(self, bias: float) -> None:
        self.bias = bias

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        margins = [text.count("good") - text.count("bad") + self.bias for text in texts]
        probabilities = 1 / (1 + np.exp(-np.array(margins, dtype=np.float64)))
        return ["POSITIVE" if p >= 0.5 else "NEGATIVE" for p in probabilities], probabilities

    def judge(self, texts: Sequence[str]) -> list[Judgement]:
        _, probabilities = self.predict(texts)
        return [
            judgement(probability, sum(map(str.isalpha, text.split())), None)
            for text, probability in zip(texts, probabilities.tolist(), strict=True)
        ]

    def explain(self, text: str) -> Explanation:
        return explain_by_occlusion(self, text)


def load_counting_scorer(entry: Path) -> CountingScorer:
    """A scorer whose bias is a tenth of the model's version; models called "broken" are broken."""
    if entry.name.startswith("broken"):
        raise CorruptModelError(f"{entry.name} is damaged")
    if entry in FOLDERS.values():
        return CountingScorer(bias=0)
    return CountingScorer(bias=int(entry.name.rpartition("-v")[2]) / 10)


def download_nothing(folder: Path) -> None:
    """Write the files that every logged model has."""
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "model.skops").write_bytes(b"")
    write_manifest(folder)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, paths=Paths(models=tmp_path / "models"), serving=LIMITS)


@pytest.fixture
def cache(settings: Settings) -> ModelCache:
    return ModelCache(settings.paths.models)


@pytest.fixture
def install(cache: ModelCache) -> Install:
    """Put a model into the cache: ``install(version, name="reviews", activate=False)``."""

    def install(
        version: int,
        name: str = "reviews",
        activate: bool = False,
        profile: TextProfile | None = None,
    ) -> CachedModel:
        def download(folder: Path) -> None:
            if profile is not None:
                write_profile(profile, folder)
            download_nothing(folder)

        registered = RegisteredVersion(
            name=name,
            version=version,
            created=datetime(2026, 5, 4, tzinfo=UTC),
            source="sqlite",
            aliases=["champion"] if version == 1 else [],
            metrics={"accuracy": 0.92},
        )
        model = cache.install(registered, download, lambda entry: None)
        return cache.activate(model.id) if activate else model

    return install


@pytest.fixture
def app(settings: Settings, install: Install) -> Litestar:
    """The service with reviews-v1 active and reviews-v2 at hand."""
    install(1, activate=True)
    install(2)
    return create_app(settings, load_counting_scorer)


@pytest.fixture
def client(app: Litestar) -> Iterator[TestClient[Litestar]]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def empty_client(settings: Settings) -> Iterator[TestClient[Litestar]]:
    """The service over a cache whose active model has gone; it holds no other one."""
    settings.paths.models.mkdir()
    (settings.paths.models / "active.json").write_text('{"id": "reviews-v1"}')
    with TestClient(create_app(settings, load_counting_scorer)) as client:
        yield client


@pytest.fixture
def admin() -> dict[str, bytes]:
    return {"Authorization": f"Bearer {TOKEN}".encode()}

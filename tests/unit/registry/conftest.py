"""A registry whose server is a stand-in, and the files of a small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config.settings import MLflow
from pipelines.registry.connection import Server
from tests.unit.cache.conftest import write_model
from tests.unit.registry.mlflow_server import FakeClient


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """What `Server.client` returns from now on, whatever the server."""
    made = FakeClient(tmp_path / "files")
    monkeypatch.setattr(Server, "client", lambda self, **_: made)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> MLflow:
    """A local tracking store that has been used, so that its file is there."""
    (tmp_path / "mlflow.db").touch()
    return MLflow(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="reviews")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write_model(folder)
    return folder

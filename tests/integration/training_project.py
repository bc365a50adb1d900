"""A project with the synthetic sample, prepared and ready to train, and the command to do it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mlflow
import pytest
import yaml

from pipelines.config.params import Params, load_params
from pipelines.config.settings import Settings, load_settings
from pipelines.datasets.preparing import preprocess
from tests.integration.commands import CHECKOUT, OLENS, Olens, clean_environment
from tests.support import PATIENCE


class TrainingProject(NamedTuple):
    root: Path

    @property
    def settings(self) -> Settings:
        return load_settings(self.root)

    @property
    def params(self) -> Params:
        return load_params(self.root)

    @property
    def client(self) -> mlflow.MlflowClient:
        uri = self.settings.mlflow.tracking_uri
        return mlflow.MlflowClient(uri, uri)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`olens` in a process of its own."""
        return subprocess.Popen(
            [*OLENS, *arguments],
            cwd=self.root,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def make_project(root: Path, vectorizer: dict[str, int]) -> TrainingProject:
    """The project's own conf and sample in `root`, with a smaller feature space."""
    (root / "data").mkdir(parents=True)
    shutil.copytree(CHECKOUT / "conf", root / "conf")
    (root / "data" / "sample").symlink_to(CHECKOUT / "data" / "sample")
    path = root / "conf" / "params.yaml"
    values = yaml.safe_load(path.read_text()) | {"vectorizer": vectorizer}
    path.write_text(yaml.safe_dump(values))
    return TrainingProject(root)


@pytest.fixture(scope="session")
def training_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingProject]:
    """Shared by the tests that train: each takes a study of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name.startswith("OLENS_")]:
            monkeypatch.delenv(name)
        project = make_project(
            tmp_path_factory.mktemp("training") / "project", {"ngram_max": 2, "bits": 16}
        )
        preprocess(project.settings, project.params, sample=True)
        yield project


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a test have no figures: drawing takes longer than all else."""
    monkeypatch.setattr("pipelines.training.runs.save_figures", lambda figures, folder: [])
    for name in ("optimisation_history", "parameter_importance"):
        monkeypatch.setattr(f"pipelines.training.tuning.{name}", lambda *_: None)


@pytest.fixture
def olens(
    training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch, olens: Olens
) -> Olens:
    """Runs the command in the shared project."""
    monkeypatch.setenv("OLENS_ROOT", str(training_project.root))
    return olens


def wait_for_line(process: subprocess.Popen[str], text: str, seconds: float = PATIENCE) -> None:
    """Read the standard error of `process` up to a line with `text`."""
    assert process.stderr is not None
    read = []
    deadline = time.monotonic() + seconds
    for line in process.stderr:
        read.append(line)
        if text in line:
            return
        assert time.monotonic() < deadline, f"no {text!r} in {''.join(read)}"
    pytest.fail(f"{text!r} never came:\n{''.join(read)}")


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)

"""Runs in a tracking store: their state when they end, models, and stores that do not answer."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
import pytest

from pipelines.errors import RegistryUnavailableError
from pipelines.manifest import verify_manifest
from pipelines.registry.versions import MANIFEST_TAG
from pipelines.training.tracking import Tracker, git_commit
from tests.integration.tracked import project_settings
from tests.integration.training_project import TrainingProject


@pytest.fixture(scope="module")
def tracker(training_project: TrainingProject) -> Tracker:
    return Tracker.open(training_project.settings)


def get(project: TrainingProject, run_id: str) -> mlflow.entities.Run:
    return project.client.get_run(run_id)


def test_a_run_that_ends_well(training_project: TrainingProject, tracker: Tracker) -> None:
    with tracker.run("mine", {"subject": "nbsvm"}) as run:
        assert get(training_project, run.id).info.status == "RUNNING"
        run.log_params({"C": 1.5, "scheme": "nb", "nothing": None})
        run.log_metrics({"val.accuracy": 0.5})
        run.set_tag("note", "hello")
    found = get(training_project, run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "mine")
    assert found.data.params == {"C": "1.5", "scheme": "nb", "nothing": "None"}
    assert found.data.metrics == {"val.accuracy": 0.5}
    assert found.data.tags["note"] == "hello"
    assert found.data.tags["subject"] == "nbsvm"
    assert found.data.tags["mlflow.source.name"] == "olens"


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_that_does_not(
    training_project: TrainingProject,
    tracker: Tracker,
    error: type[BaseException],
    status: str,
) -> None:
    with pytest.raises(error), tracker.run("unlucky") as run:
        raise error
    assert get(training_project, run.id).info.status == status


def test_an_unfinished_run_can_be_taken_up_again(
    training_project: TrainingProject, tracker: Tracker
) -> None:
    with pytest.raises(KeyboardInterrupt), tracker.run("first") as run:
        raise KeyboardInterrupt
    assert tracker.unfinished(run.id)
    with tracker.resumed(run.id) as again:
        assert again.id == run.id
        again.log_params({"C": 1})
    assert get(training_project, run.id).info.status == "FINISHED"
    assert not tracker.unfinished(run.id)
    assert not tracker.unfinished("0" * 32)


def test_files_and_models(
    training_project: TrainingProject, tracker: Tracker, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "sub" / "weights").write_bytes(bytes(10))
    with tracker.run("logging") as run:
        run.log_files(folder, "files")
        model_id = run.log_model(folder, {"C": 1}, {"test.accuracy": 0.75}, {"subject": "x"})
    logged = training_project.client.get_logged_model(model_id)
    assert (logged.status, logged.source_run_id) == ("READY", run.id)
    assert logged.params == {"C": "1"}
    assert [(metric.key, metric.value) for metric in logged.metrics] == [("test.accuracy", 0.75)]
    assert [output.model_id for output in get(training_project, run.id).outputs.model_outputs] == [
        model_id
    ]
    kept = mlflow.artifacts.download_artifacts(
        logged.artifact_location, dst_path=str(tmp_path / "kept"),
        tracking_uri=training_project.settings.mlflow.tracking_uri,
    )  # fmt: skip
    assert verify_manifest(Path(kept), logged.tags[MANIFEST_TAG]).files.keys() == {
        "MLmodel",
        "sub/weights",
    }


def test_the_store_makes_its_folder_and_keeps_artifacts_beside_it(
    training_project: TrainingProject, tracker: Tracker
) -> None:
    experiment = training_project.client.get_experiment_by_name("opinionlens")
    beside = training_project.root / "mlruns" / "artifacts"
    assert experiment.artifact_location == beside.as_uri()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    settings = project_settings(tmp_path, tracking_uri="http://127.0.0.1:9", timeout=1.0)
    with pytest.raises(RegistryUnavailableError, match=r"127\.0\.0\.1:9"):
        Tracker.open(settings)


def test_no_commit_outside_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    assert git_commit() is None

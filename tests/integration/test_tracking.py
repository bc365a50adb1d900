"""Runs in a tracking store: their state when they end, models, and stores that do not answer."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import mlflow
import mlflow.data
import msgspec
import pytest
from mlflow.types import Schema

from pipelines.errors import RegistryError, RegistryUnavailableError, StorageError
from pipelines.registry.manifest import verify_manifest
from pipelines.registry.tracking import (
    PROCESS_TAG,
    DatasetInput,
    Tracker,
    git_commit,
    has_ended,
    this_process,
)
from pipelines.registry.versions import MANIFEST_TAG
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


def test_runs_of_killed_processes_are_ended_at_the_next_start(
    training_project: TrainingProject, tracker: Tracker
) -> None:
    experiment = training_project.client.get_experiment_by_name("opinionlens").experiment_id
    host = socket.gethostname()
    dead, reused, elsewhere = (
        training_project.client.create_run(experiment, tags={PROCESS_TAG: process}).info.run_id
        for process in (f"{host} 99999999 1", f"{host} {os.getpid()} 1", "another-host 99999999 1")
    )
    untagged = training_project.client.create_run(experiment).info.run_id
    with tracker.run("mine") as mine:
        Tracker.open(training_project.settings)
        status = {
            run_id: get(training_project, run_id).info.status
            for run_id in (dead, reused, elsewhere, untagged, mine.id)
        }
    assert status == {
        dead: "KILLED",
        reused: "KILLED",
        elsewhere: "RUNNING",
        untagged: "RUNNING",
        mine.id: "RUNNING",
    }


@pytest.mark.parametrize(
    "process",
    ["", "x", "4711", "HOST", "HOST x 1", "HOST 1.5 1", "HOST -1 1", "HOST 0 1",
     "HOST 99999999999999999999 1", "HOST \u0664\u0667 1", "[1, 2]"],
)  # fmt: skip
def test_what_another_program_wrote_is_no_ended_process(process: str) -> None:
    assert not has_ended(process.replace("HOST", socket.gethostname()))
    assert not has_ended(this_process())
    assert has_ended(f"{socket.gethostname()} 99999999 1")


def test_data_sets_are_inputs_that_mlflow_can_load(
    training_project: TrainingProject, tracker: Tracker, tmp_path: Path
) -> None:
    (tmp_path / "train.parquet").write_bytes(b"rows")
    given = DatasetInput(
        name="mine.train", digest="0123456789abcdef", source=tmp_path / "train.parquet",
        context="training", rows=3, columns={"text": "string", "label": "integer"},
    )  # fmt: skip
    for name in ("first", "second"):  # The same data set is one in MLflow.
        with tracker.run(name) as run:
            run.log_datasets([given])
        (found,) = get(training_project, run.id).inputs.dataset_inputs
        assert (found.dataset.name, found.dataset.digest) == ("mine.train", "0123456789abcdef")
        assert {tag.key: tag.value for tag in found.tags} == {"mlflow.data.context": "training"}
        assert json.loads(found.dataset.profile) == {"num_rows": 3}
        schema = Schema.from_json(json.dumps(json.loads(found.dataset.schema)["mlflow_colspec"]))
        assert schema.input_names() == ["text", "label"]
        assert Path(mlflow.data.get_source(found.dataset).load()).read_bytes() == b"rows"


def test_mlflows_pages_open_in_the_mode_for_models_that_are_trained(
    training_project: TrainingProject, tracker: Tracker
) -> None:
    client = training_project.client
    experiment = client.get_experiment_by_name("opinionlens")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    client.delete_experiment_tag(experiment.experiment_id, "mlflow.experimentKind")
    Tracker.open(training_project.settings)  # as one that was made before there was the tag
    again = client.get_experiment_by_name("opinionlens")
    assert again.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_deleted_experiment_is_named_with_the_way_to_restore_it(
    training_project: TrainingProject,
) -> None:
    mlflow_settings = msgspec.structs.replace(training_project.settings.mlflow, experiment="gone")
    settings = msgspec.structs.replace(training_project.settings, mlflow=mlflow_settings)
    Tracker.open(settings)
    found = training_project.client.get_experiment_by_name("gone")
    training_project.client.delete_experiment(found.experiment_id)
    with pytest.raises(
        RegistryError, match=r"'gone' was deleted\. Restore it with: (.*); or"
    ) as error:
        Tracker.open(settings)
    command = re.search("Restore it with: (.*); or", str(error.value))
    assert command is not None
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": scripts}
    subprocess.run(command[1], shell=True, check=True, capture_output=True, env=environment)
    Tracker.open(settings)


def test_a_path_that_sqlalchemy_would_misread(tmp_path: Path) -> None:
    root = tmp_path / "a?b #c%20d"
    settings = project_settings(root)
    with Tracker.open(settings).run("mine") as run:
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "note").write_text("kept")
        run.log_files(tmp_path / "files", "files")
    assert {path.name for path in tmp_path.iterdir()} == {"a?b #c%20d", "files"}
    kept = root / "mlruns" / "artifacts" / run.id / "artifacts" / "files" / "note"
    assert kept.read_text() == "kept"


def test_a_damaged_database_is_an_error_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StorageError, match=r"mlflow\.db: cannot be read: file is not a database"):
        Tracker.open(project_settings(tmp_path))


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    settings = project_settings(tmp_path, tracking_uri="http://127.0.0.1:9", timeout=1.0)
    with pytest.raises(RegistryUnavailableError, match=r"127\.0\.0\.1:9"):
        Tracker.open(settings)


def test_no_commit_outside_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    assert git_commit() is None

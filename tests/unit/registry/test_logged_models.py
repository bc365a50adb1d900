"""Logged models of the tracking store: which one is meant, and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config.settings import MLflow
from pipelines.errors import CorruptModelError, InputError, ModelNotFoundError, TrainingError
from pipelines.files import fingerprint
from pipelines.registry.connection import Credentials
from pipelines.registry.logged_models import TrackingStore
from tests.unit.registry.mlflow_server import FakeClient


def log(client: FakeClient, files: Path, run: int, finish: bool = True) -> str:
    found = client.get_experiment_by_name("reviews")
    experiment = found.experiment_id if found else client.create_experiment("reviews")
    tags = {"olens.manifest_sha256": fingerprint(files / "manifest.json")[1]}
    made = client.create_logged_model(experiment, "model", {"C": "1"}, tags, f"{run:032x}")
    client.log_model_artifacts(made.model_id, str(files))
    if finish:
        client.finalize_logged_model(made.model_id, "READY")
    return str(made.model_id)


def test_the_latest_is_the_newest_finished_one(
    client: FakeClient, settings: MLflow, files: Path
) -> None:
    """Unfinished ones may fill the first pages of the answer."""
    finished = [log(client, files, run) for run in range(3)]
    unfinished = [log(client, files, run, finish=False) for run in range(3, 8)]
    store = TrackingStore(settings)

    assert store.find().id == store.find("latest").id == finished[-1]
    assert [model.id for model in store.recent()] == finished[::-1]
    assert [model.id for model in store.recent(2)] == finished[:0:-1]
    with pytest.raises(TrainingError, match="not finished"):
        store.find(unfinished[0])


def test_a_model_is_found_by_its_id_and_by_its_run(
    client: FakeClient, settings: MLflow, files: Path
) -> None:
    ids = [log(client, files, run) for run in range(3)]
    store = TrackingStore(settings)
    for run, id_ in enumerate(ids):
        found = store.find(f"{run:032x}")
        assert found == store.find(id_)
        assert (found.run_id, found.params) == (f"{run:032x}", {"C": "1"})


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        ("newest", InputError, "'newest' is no model"),
        ("m-" + "f" * 32, ModelNotFoundError, "no logged model"),
        ("f" * 32, ModelNotFoundError, "no run"),
    ],
)
def test_unknown_models_are_named_with_those_there_are(
    client: FakeClient, settings: MLflow, files: Path, model: str, error: type[Exception], says: str
) -> None:
    known = log(client, files, 0)
    with pytest.raises(error, match=rf"{says}.*The newest are: {known}"):
        TrackingStore(settings).find(model)


def test_an_experiment_without_models_says_how_to_log_one(
    client: FakeClient, settings: MLflow, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'reviews' has no logged model.*olens train"):
        TrackingStore(settings).find()
    unused = MLflow(tracking_uri=f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(ModelNotFoundError, match="Nothing has been tracked"):
        TrackingStore(unused).find()


def test_the_files_are_checked_and_removed_again(
    client: FakeClient, settings: MLflow, files: Path
) -> None:
    store = TrackingStore(settings)
    model = store.find(log(client, files, 0))
    with store.files(model) as folder:
        assert (folder / "model.skops").read_bytes() == (files / "model.skops").read_bytes()
    assert not folder.exists()

    skops = client.folder / model.id / "model.skops"
    skops.write_bytes(bytes(skops.stat().st_size))
    with pytest.raises(CorruptModelError, match=r"model\.skops differs"), store.files(model):
        pass


def test_credentials_of_a_registry_elsewhere_are_not_for_the_tracking_store() -> None:
    account = Credentials("me", "secret")
    here = MLflow(tracking_uri="http://one.example")
    assert TrackingStore(here, account).server.credentials == account
    elsewhere = MLflow(tracking_uri="http://one.example", registry_uri="http://two.example")
    assert TrackingStore(elsewhere, account).server.credentials == Credentials()

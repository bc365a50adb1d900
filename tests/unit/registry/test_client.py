"""The registry's client: what it finds, registers, and leaves behind when a step fails."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from pipelines.config.settings import MLflow
from pipelines.errors import (
    CorruptModelError,
    InputError,
    ModelNotFoundError,
    RegistryAuthError,
    RegistryError,
    RegistryUnavailableError,
)
from pipelines.files import fingerprint
from pipelines.registry.client import Registry
from pipelines.registry.logged_models import LoggedModel, TrackingStore
from tests.unit.registry.mlflow_server import FakeClient

METRICS = {"accuracy": 0.9}
REMOTE = "http://registry.example"


@pytest.fixture
def logged(client: FakeClient, settings: MLflow, files: Path) -> LoggedModel:
    """A logged model of the tracking store."""
    experiment = client.create_experiment("reviews")
    tags = {"olens.manifest_sha256": fingerprint(files / "manifest.json")[1]}
    made = client.create_logged_model(experiment, "model", {"C": "1"}, tags, "0" * 32)
    client.log_model_artifacts(made.model_id, str(files))
    client.finalize_logged_model(made.model_id, "READY")
    return TrackingStore(settings).find()


@pytest.fixture(params=["the same store", "another server"])
def registry(request: pytest.FixtureRequest, settings: MLflow) -> Registry:
    if request.param == "another server":
        settings = msgspec.structs.replace(settings, registry_uri=REMOTE)
    return Registry(settings)


def test_a_version_is_registered_and_downloaded(
    registry: Registry, logged: LoggedModel, files: Path, tmp_path: Path
) -> None:
    version = registry.register(logged, files, "reviews", "champion", METRICS, {"note": "x"})

    assert (version.name, version.version, version.aliases) == ("reviews", 1, ["champion"])
    assert version.metrics == METRICS
    assert version.tags["note"] == "x"
    assert version.manifest_sha256 == logged.manifest_sha256
    target = tmp_path / "fetched"
    target.mkdir()
    steps: list[tuple[int, int | None]] = []
    registry.download(version, target, lambda *step: steps.append(step))
    for path in files.rglob("*"):
        if path.is_file():
            assert (target / path.relative_to(files)).read_bytes() == path.read_bytes()
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


def test_another_server_gets_a_copy_and_the_same_store_does_not(
    registry: Registry, logged: LoggedModel, client: FakeClient, files: Path
) -> None:
    registry.register(logged, files, "reviews")
    copies = [m for m in client.logged.values() if m.tags.get("olens.copied_from") == logged.id]
    assert len(copies) == (1 if registry.server.is_http else 0)


def test_the_champion_is_taken_or_else_the_newest(
    registry: Registry, logged: LoggedModel, files: Path
) -> None:
    for _ in range(3):
        registry.register(logged, files, "reviews")
    assert registry.resolve("reviews").version == 3
    registry.register(logged, files, "reviews", "champion")
    registry.register(logged, files, "reviews")

    assert registry.resolve("reviews").version == 4
    assert registry.resolve("reviews", version=2).version == 2
    assert registry.resolve("reviews", alias="champion").version == 4
    assert [version.version for version in registry.model("reviews").versions] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"name": "nobody"}, "no model 'nobody'.*There are: reviews"),
        ({"name": "reviews", "version": 7}, r"no version 7\. There are: 1 \(best\)"),
        ({"name": "reviews", "alias": "x"}, r"no alias 'x'\. There are: 1 \(best\)"),
    ],
)
def test_unknown_models_and_versions_are_errors_that_list_the_known_ones(
    registry: Registry, logged: LoggedModel, files: Path, choice: dict[str, str], says: str
) -> None:
    registry.register(logged, files, "reviews", "best")
    with pytest.raises(ModelNotFoundError, match=says):
        registry.resolve(**choice)  # type: ignore[arg-type]


def test_all_pages_of_names_and_versions_are_read(
    registry: Registry, logged: LoggedModel, files: Path
) -> None:
    for name in ("e", "d", "c", "b", "a"):
        for _ in range(3):
            registry.register(logged, files, name)
    models = registry.models()
    assert [model.name for model in models] == ["a", "b", "c", "d", "e"]
    assert all(len(model.versions) == 3 for model in models)


@pytest.mark.parametrize("failure", [RuntimeError("lost"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "step", ["log_model_artifacts", "finalize_logged_model", "create_model_version",
             "set_registered_model_alias"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["reviews", "new"])
def test_a_step_that_fails_leaves_the_registry_as_it_was(
    settings: MLflow,
    logged: LoggedModel,
    client: FakeClient,
    files: Path,
    name: str,
    step: str,
    failure: BaseException,
) -> None:
    registry = Registry(msgspec.structs.replace(settings, registry_uri=REMOTE))
    registry.register(logged, files, "reviews", "champion")
    before = registry.models(), list(client.logged), sorted(client.folder.rglob("*"))

    client.broken[step] = failure
    expected = RegistryError if isinstance(failure, RuntimeError) else KeyboardInterrupt
    with pytest.raises(expected):
        registry.register(logged, files, name, "champion")
    del client.broken[step]

    assert (registry.models(), list(client.logged), sorted(client.folder.rglob("*"))) == before


def test_changed_files_are_not_registered(
    registry: Registry, logged: LoggedModel, client: FakeClient, files: Path
) -> None:
    (files / "model.skops").write_bytes(b"changed")
    with pytest.raises(CorruptModelError, match=r"model\.skops differs"):
        registry.register(logged, files, "reviews")
    assert client.models == {}


@pytest.mark.parametrize(("name", "alias"), [("a/b", None), ("", None), ("fine", "latest")])
def test_names_that_mlflow_refuses_are_input_errors(
    registry: Registry,
    logged: LoggedModel,
    client: FakeClient,
    files: Path,
    name: str,
    alias: str | None,
) -> None:
    with pytest.raises(InputError):
        registry.register(logged, files, name, alias)
    assert client.models == {}
    assert list(client.logged) == [logged.id]


def test_a_deleted_experiment_is_named(
    settings: MLflow, logged: LoggedModel, client: FakeClient, files: Path
) -> None:
    client.experiments["reviews"].lifecycle_stage = "deleted"
    registry = Registry(msgspec.structs.replace(settings, registry_uri=REMOTE))
    with pytest.raises(RegistryError, match=r"'reviews' of http://registry\.example was deleted"):
        registry.register(logged, files, "reviews")


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (MlflowException("no", PERMISSION_DENIED), RegistryAuthError),
        (MlflowException("nobody knows"), RegistryUnavailableError),
        (TypeError("an answer of another kind"), RegistryUnavailableError),
    ],
)
def test_errors_of_mlflow_become_ours(
    registry: Registry, client: FakeClient, failure: Exception, error: type[Exception]
) -> None:
    client.broken["search_registered_models"] = failure
    with pytest.raises(error):
        registry.models()


def test_a_registry_that_was_never_used_is_empty(client: FakeClient, tmp_path: Path) -> None:
    registry = Registry(MLflow(tracking_uri=f"sqlite:///{tmp_path}/none.db"))
    client.broken["search_registered_models"] = AssertionError("asking would make the database")
    assert registry.models() == []
    with pytest.raises(ModelNotFoundError, match="olens register"):
        registry.resolve("reviews")

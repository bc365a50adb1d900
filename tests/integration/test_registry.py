"""The registry client against a real MLflow server on PostgreSQL with basic authentication."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest

from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Settings
from pipelines.errors import (
    CorruptModelError,
    InputError,
    ModelNotFoundError,
    RegistryAuthError,
    RegistryError,
    StorageError,
    TrainingError,
    UnsafeModelError,
)
from pipelines.registry.client import Registry
from pipelines.registry.connection import Credentials
from pipelines.registry.logged_models import TrackingStore
from pipelines.registry.versions import RegisteredVersion
from pipelines.workflows.register import register
from tests.integration.services import RegistryServer
from tests.integration.tracked import METRICS, Tracked, log_model, project_settings, save_model

pytestmark = pytest.mark.postgres


def content(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def with_mlflow(settings: Settings, **changes: object) -> Settings:
    return msgspec.structs.replace(
        settings, mlflow=msgspec.structs.replace(settings.mlflow, **changes)
    )


@pytest.fixture
def remote(tracked: Tracked, registry_server: RegistryServer) -> Settings:
    """The project of `tracked` with the server as its registry."""
    return with_mlflow(
        tracked.settings,
        registry_uri=registry_server.uri,
        registry_username=registry_server.username,
        registry_password=registry_server.password,
    )


@pytest.fixture(scope="module")
def reviews(tracked: Tracked, registry_server: RegistryServer) -> RegisteredVersion:
    """Version 1 of `reviews` on the server."""
    settings = with_mlflow(
        tracked.settings,
        registry_uri=registry_server.uri,
        registry_username=registry_server.username,
        registry_password=registry_server.password,
    )
    return register(settings, "reviews", tracked.model_id, alias="champion")


@pytest.fixture
def no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


# From the tracking store to the registry, and from there to another machine


def test_a_registered_version_says_what_it_is(
    reviews: RegisteredVersion, tracked: Tracked, registry_server: RegistryServer
):
    assert (reviews.name, reviews.version, reviews.aliases) == ("reviews", 1, ["champion"])
    assert reviews.metrics == METRICS
    assert reviews.manifest_sha256 == TrackingStore(tracked.settings.mlflow).find().manifest_sha256
    assert reviews.source == registry_server.uri


def test_a_fetched_model_is_the_logged_one_byte_for_byte(
    reviews: RegisteredVersion, remote: Settings, tracked: Tracked, tmp_path: Path
):
    registry = Registry(remote.mlflow)
    steps: list[tuple[int, int | None]] = []

    model = ModelCache(tmp_path / "models").install(
        registry.resolve("reviews"),
        lambda folder: registry.download(reviews, folder, lambda *step: steps.append(step)),
        lambda entry: None,
    )

    assert content(model.path / "model") == content(tracked.folder)
    assert model.metrics == METRICS
    total = sum(map(len, content(tracked.folder).values())) - len(
        (tracked.folder / "manifest.json").read_bytes()
    )
    assert steps[-1] == (total, total)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.slow
def test_mlflow_itself_predicts_with_the_registered_model(
    reviews: RegisteredVersion, tracked: Tracked, registry_server: RegistryServer
):
    """A clean process that knows nothing of OpinionLens asks the server and the local store."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_USERNAME": registry_server.username,
        "MLFLOW_TRACKING_PASSWORD": registry_server.password,
    }
    local = register(tracked.settings, "local-reviews").name
    stores = {registry_server.uri: "reviews", tracked.settings.mlflow.tracking_uri: local}
    code = (
        "import mlflow\n"
        f"for uri, name in {stores!r}.items():\n"
        "    mlflow.set_tracking_uri(uri)\n"
        "    model = mlflow.pyfunc.load_model(f'models:/{name}/1')\n"
        "    print(*model.predict(['so good', 'so bad']))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["POSITIVE NEGATIVE"] * 2
    # MLflow leaves a note beside the files of a local model, which is not part of it.
    assert register(tracked.settings, local).version == 2


def test_the_server_lists_the_files_and_links_the_model(
    reviews: RegisteredVersion, remote: Settings, tracked: Tracked
):
    """What MLflow's own pages show."""
    client = Registry(remote.mlflow).server.client()
    version = client.get_model_version("reviews", "1")
    copy = client.get_logged_model(version.source.removeprefix("models:/"))

    assert version.status == "READY"
    assert copy.status.value == "READY"
    assert copy.params == {"C": "1.0"}
    assert copy.tags["olens.copied_from"] == tracked.model_id
    names = {file.path for file in client.list_logged_model_artifacts(copy.model_id)}
    assert names == set(content(tracked.folder))


def test_an_alias_moves_to_the_version_that_was_registered_last(remote: Settings):
    first = register(remote, "moving", alias="champion")
    second = register(remote, "moving", alias="champion")

    registry = Registry(remote.mlflow)
    assert [first.version, second.version] == [1, 2]
    assert registry.resolve("moving", alias="champion").version == 2
    assert registry.resolve("moving", version=1).aliases == []
    assert [version.version for version in registry.model("moving").versions] == [2, 1]


def test_without_a_choice_the_champion_is_taken_or_else_the_newest(remote: Settings):
    for alias in (None, "champion", None):
        register(remote, "chosen", alias=alias)
    register(remote, "newest")
    register(remote, "newest")

    registry = Registry(remote.mlflow)
    assert registry.resolve("chosen").version == 2
    assert registry.resolve("newest").version == 2


def test_names_may_hold_blanks_quotes_and_letters_of_any_language(remote: Settings, tmp_path: Path):
    name = "It's Bücher 書"
    register(remote, name)

    registry = Registry(remote.mlflow)
    version = registry.resolve(name)
    model = ModelCache(tmp_path).install(
        version, lambda folder: registry.download(version, folder), lambda entry: None
    )
    assert model.name == name
    assert model.path.parent == tmp_path


def test_models_are_listed_with_their_versions(reviews: RegisteredVersion, remote: Settings):
    models = {model.name: model for model in Registry(remote.mlflow).models()}

    assert reviews in models["reviews"].versions
    assert list(models) == sorted(models)


# What is not there


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"name": "nobody"}, r"no model 'nobody'\. There are: .*reviews"),
        ({"name": "reviews", "version": 99}, r"no version 99\. There are: .*1 \(champion\)"),
        ({"name": "reviews", "alias": "x"}, r"no alias 'x'\. There are: .*1 \(champion\)"),
        ({"name": "reviews/.."}, "no model"),
        ({"name": 'it\'s "quoted"'}, "no model"),
    ],
)
def test_unknown_names_are_errors_that_list_the_registered_ones(
    reviews: RegisteredVersion, remote: Settings, choice: dict[str, str], says: str
):
    with pytest.raises(ModelNotFoundError, match=says):
        Registry(remote.mlflow).resolve(**choice)  # type: ignore[arg-type]


def test_a_model_without_versions_says_so(remote: Settings):
    registry = Registry(remote.mlflow)
    registry.server.client().create_registered_model("hollow")

    with pytest.raises(ModelNotFoundError, match=r"'hollow' has no version.*olens register"):
        registry.resolve("hollow")


def test_a_fresh_project_has_nothing_and_makes_nothing(tmp_path: Path):
    settings = project_settings(tmp_path)

    assert Registry(settings.mlflow).models() == []
    with pytest.raises(ModelNotFoundError, match="olens register"):
        Registry(settings.mlflow).resolve("reviews")
    with pytest.raises(ModelNotFoundError, match="olens train"):
        TrackingStore(settings.mlflow).find()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        ("newest", InputError, "'newest' is no model"),
        ("m-" + "0" * 32, ModelNotFoundError, "no logged model"),
        ("0" * 32, ModelNotFoundError, "no run"),
    ],
)
def test_unknown_logged_models_are_named_with_those_there_are(
    tracked: Tracked, model: str, error: type[Exception], says: str
):
    with pytest.raises(error, match=rf"{says}.*The newest are: .*{tracked.model_id}"):
        TrackingStore(tracked.settings.mlflow).find(model)


def test_a_logged_model_is_found_by_its_id_and_its_run(tracked: Tracked):
    store = TrackingStore(tracked.settings.mlflow)

    assert store.find(tracked.model_id) == store.find(tracked.run_id)
    assert store.find(tracked.model_id).run_id == tracked.run_id


def test_the_latest_model_is_the_newest_finished_one(tracked: Tracked):
    settings = with_mlflow(tracked.settings, experiment="another")
    with pytest.raises(ModelNotFoundError, match="'another' has no logged model"):
        TrackingStore(settings.mlflow).find()
    log_model(settings, tracked.folder)
    newest, _ = log_model(settings, tracked.folder)
    unfinished, _ = log_model(settings, tracked.folder, finish=False)

    assert TrackingStore(settings.mlflow).find("latest").id == newest
    with pytest.raises(TrainingError, match="not finished"):
        TrackingStore(settings.mlflow).find(unfinished)


# Registering what fails leaves the registry as it was


def everything(settings: Settings, server: RegistryServer) -> tuple[object, ...]:
    """Models, logged models and files of the server."""
    registry = Registry(settings.mlflow)
    client = registry.server.client()
    experiment = client.get_experiment_by_name(settings.mlflow.experiment)
    logged = client.search_logged_models([experiment.experiment_id], max_results=1000)
    return (
        registry.models(),
        sorted(model.model_id for model in logged),
        sorted(content(server.folder / "files")),
    )


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ("upload", RuntimeError("lost")),
        ("finalize_logged_model", KeyboardInterrupt()),
        ("create_model_version", RuntimeError("lost")),
        ("set_registered_model_alias", KeyboardInterrupt()),
    ],
)
def test_a_registration_that_fails_leaves_nothing(
    reviews: RegisteredVersion,
    remote: Settings,
    tracked: Tracked,
    registry_server: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: BaseException,
):
    from mlflow import MlflowClient

    def fail(*_: object, **__: object) -> None:
        raise failure

    def upload_one_and_fail(client: MlflowClient, model_id: str, folder: str) -> None:
        client.log_model_artifact(model_id, f"{folder}/model.skops")
        raise failure

    before = everything(remote, registry_server)
    with monkeypatch.context() as patch:
        patch.setattr(
            MlflowClient,
            "log_model_artifacts" if step == "upload" else step,
            upload_one_and_fail if step == "upload" else fail,
        )
        expected = RegistryError if isinstance(failure, RuntimeError) else KeyboardInterrupt
        for name in ("reviews", "brand-new"):
            with pytest.raises(expected):
                register(remote, name, tracked.model_id, alias="champion")

    assert everything(remote, registry_server) == before


@pytest.mark.parametrize(
    ("name", "alias"),
    [("a/b", None), ("", None), ("fine", "v1"), ("fine", "latest"), ("fine", "é é")],
)
def test_names_that_mlflow_refuses_are_input_errors(
    reviews: RegisteredVersion,
    remote: Settings,
    registry_server: RegistryServer,
    name: str,
    alias: str | None,
):
    before = everything(remote, registry_server)
    with pytest.raises(InputError):
        register(remote, name, alias=alias)
    assert everything(remote, registry_server) == before


def test_a_damaged_logged_model_is_not_registered(tmp_path: Path, tracked: Tracked):
    settings = with_mlflow(tracked.settings, experiment="damaged")
    id_, _ = log_model(settings, tracked.folder)
    uri = TrackingStore(settings.mlflow).find(id_).artifact_uri
    (Path(uri.removeprefix("file://")) / "model.skops").write_bytes(b"x")

    with pytest.raises(CorruptModelError, match=r"model\.skops differs"):
        register(settings, "damaged")


def test_registering_in_another_sqlite_file_copies_the_files(tracked: Tracked, tmp_path: Path):
    settings = with_mlflow(tracked.settings, registry_uri=f"sqlite:///{tmp_path}/deep/registry.db")
    version = register(settings, "copied", tracked.model_id, alias="champion")
    folder = tmp_path / "fetched"
    folder.mkdir()
    Registry(settings.mlflow).download(version, folder)

    assert content(folder) == content(tracked.folder)
    assert (tmp_path / "deep/artifacts").is_dir()


# Accounts


@pytest.mark.parametrize("password", ["wrong", ""])
@pytest.mark.usefixtures("no_proxy_variables")
def test_a_wrong_password_is_an_error_that_does_not_show_it(remote: Settings, password: str):
    registry = Registry(with_mlflow(remote, registry_password="not-this-one").mlflow)
    with pytest.raises(RegistryAuthError, match="refused the user 'admin'") as caught:
        registry.models()
    assert "not-this-one" not in str(caught.value)

    with pytest.raises(RegistryAuthError, match="refused the user 'me'"):
        Registry(remote.mlflow, Credentials("me", password)).resolve("reviews")


@pytest.mark.usefixtures("no_proxy_variables")
def test_a_caller_without_an_account_is_refused_too(remote: Settings):
    anonymous = with_mlflow(remote, registry_username="", registry_password="")
    with pytest.raises(RegistryAuthError, match="a caller without a name"):
        Registry(anonymous.mlflow).models()


@pytest.mark.usefixtures("no_proxy_variables")
def test_any_password_works_and_permissions_are_respected(
    reviews: RegisteredVersion, remote: Settings, registry_server: RegistryServer, tmp_path: Path
):
    """An account that may read."""
    account = Credentials("O'Neil @home", "p:a/s?s#w%20o@rd & <x>")
    create_user(registry_server, account)
    registry = Registry(remote.mlflow, account)

    assert registry.resolve("reviews") == reviews
    registry.download(reviews, tmp_path)
    with pytest.raises(RegistryAuthError, match="what the account may do"):
        register(remote, "reviews", credentials=account)
    assert account.password not in repr(account)
    assert account.password not in registry.server.name


@pytest.mark.usefixtures("no_proxy_variables")
def test_a_password_in_any_language_is_understood(
    remote: Settings, registry_server: RegistryServer
):
    """MLflow's own server reads UTF-8 for its API (for artifacts, only ASCII)."""
    account = Credentials("Jörg", "pässwörd € 書")
    create_user(registry_server, account)

    assert Registry(remote.mlflow, account).models() == Registry(remote.mlflow).models()


def create_user(server: RegistryServer, account: Credentials) -> None:
    admin = b64encode(f"{server.username}:{server.password}".encode()).decode()
    request = urllib.request.Request(
        f"{server.uri}/api/2.0/mlflow/users/create",
        msgspec.json.encode(account),
        {"Authorization": f"Basic {admin}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


# What must not be used


def test_a_pickle_is_refused_before_it_is_downloaded(remote: Settings, tmp_path: Path):
    """Any MLflow user can register one; here with all the marks of one of ours."""
    files = tmp_path / "pickled"
    save_model(files, serialization_format="cloudpickle")
    settings = with_mlflow(remote, experiment="pickles")
    id_, _ = log_model(settings, files)
    with pytest.raises(UnsafeModelError, match="olens train --log-model"):
        register(settings, "pickled", id_)
    version = register_behind_our_back(settings, "pickled", files)

    folder = tmp_path / "fetched"
    folder.mkdir()
    with pytest.raises(UnsafeModelError, match=r"Version 1 of pickled.*olens train --log-model"):
        Registry(settings.mlflow).download(version, folder)
    assert [path.name for path in folder.iterdir()] == ["MLmodel"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("../../outside", CorruptModelError),
        ("/tmp/outside", CorruptModelError),
        ("a/../b", CorruptModelError),
        ("a\\b", CorruptModelError),
        ("", CorruptModelError),
        ("extra.pkl", UnsafeModelError),
    ],
)
def test_a_manifest_cannot_lead_out_of_the_folder(
    remote: Settings, tracked: Tracked, tmp_path: Path, name: str, error: type[Exception]
):
    files = tmp_path / "files"
    files.mkdir()
    for path, data in content(tracked.folder).items():
        (files / path).write_bytes(data)
    manifest = msgspec.json.decode((files / "manifest.json").read_bytes())
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    (files / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    version = register_behind_our_back(remote, "hostile", files)

    folder = tmp_path / "models/.tmp/model"
    folder.mkdir(parents=True)
    with pytest.raises(error):
        Registry(remote.mlflow).download(version, folder)
    assert sorted(content(tmp_path / "models")) == [
        ".tmp/model/MLmodel",
        ".tmp/model/manifest.json",
    ]


def test_a_model_without_manifest_is_not_ours(remote: Settings, tracked: Tracked, tmp_path: Path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "MLmodel").write_bytes((tracked.folder / "MLmodel").read_bytes())
    version = register_behind_our_back(remote, "foreign", files)

    folder = tmp_path / "fetched"
    folder.mkdir()
    with pytest.raises(CorruptModelError, match="not logged by OpinionLens"):
        Registry(remote.mlflow).download(version, folder)


@pytest.mark.parametrize("lost", ["everything", "model.skops"])
def test_files_that_are_gone_from_the_server_are_missed(
    remote: Settings, registry_server: RegistryServer, tmp_path: Path, lost: str
):
    version = register(remote, "lost")
    uri = (
        Registry(remote.mlflow)
        .server.client()
        .get_model_version_download_uri("lost", str(version.version))
    )
    folder = registry_server.folder / "files" / uri.removeprefix("mlflow-artifacts:/")
    for path in folder.iterdir():
        if lost in ("everything", path.name):
            path.unlink()

    target = tmp_path / "fetched"
    target.mkdir()
    error = ModelNotFoundError if lost == "everything" else CorruptModelError
    with pytest.raises(error, match="Register it again"):
        Registry(remote.mlflow).download(version, target)


def test_a_disk_without_room_is_noticed_before_the_download(
    remote: Settings, tracked: Tracked, tmp_path: Path
):
    files = tmp_path / "files"
    files.mkdir()
    for path, data in content(tracked.folder).items():
        (files / path).write_bytes(data)
    manifest = msgspec.json.decode((files / "manifest.json").read_bytes())
    manifest["files"]["huge.bin"] = {"size": 10**18, "sha256": "0" * 64}
    (files / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    version = register_behind_our_back(remote, "huge", files)

    folder = tmp_path / "models" / "model"
    folder.mkdir(parents=True)
    with pytest.raises(StorageError, match=r"needs 1,000,000,000,000\.0 MB, and .* are free"):
        Registry(remote.mlflow).download(version, folder)


def register_behind_our_back(settings: Settings, name: str, files: Path) -> RegisteredVersion:
    """Register `files` as any MLflow user can, without our checks."""
    registry = Registry(settings.mlflow)
    client = registry.server.client()
    experiment = client.get_experiment_by_name("foreign")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("foreign")
    model = client.create_logged_model(experiment_id, name="model")
    client.log_model_artifacts(model.model_id, str(files))
    client.finalize_logged_model(model.model_id, "READY")
    if name not in {model.name for model in registry.models()}:
        client.create_registered_model(name)
    made = client.create_model_version(
        name, f"models:/{model.model_id}", model_id=model.model_id, await_creation_for=0
    )
    return registry.resolve(name, int(made.version))

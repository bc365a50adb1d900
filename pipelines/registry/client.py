"""The model registry: what is there, downloading it, adding to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec

from pipelines.errors import InputError, ModelNotFoundError, RegistryError
from pipelines.files import fingerprint
from pipelines.registry.artifacts import OnProgress, download_model
from pipelines.registry.connection import Credentials, Server
from pipelines.registry.manifest import MANIFEST, MANIFEST_TAG, verify_manifest
from pipelines.registry.transfer import artifact_repository
from pipelines.registry.versions import (
    METRICS_TAG,
    RegisteredModel,
    RegisteredVersion,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Version
    from mlflow.entities.model_registry import RegisteredModel as Model
    from mlflow.store.entities.paged_list import PagedList

    from pipelines.config.settings import MLflow
    from pipelines.registry.logged_models import LoggedModel

T = TypeVar("T")

DEFAULT_ALIAS: Final = "champion"
_REGISTER: Final = "Register one with: olens register latest NAME"


class Registry:
    """An MLflow model registry: an HTTP server or a database.

    Parameters
    ----------
    settings : MLflow
        Names the registry, the account and how long to wait for an answer.
    credentials : Credentials, optional
        Instead of the account of the settings.

    Notes
    -----
    Every method may raise `RegistryUnavailableError` (nobody, or something else, answers) and
    `RegistryAuthError` (the account is refused).
    """

    def __init__(self, settings: MLflow, credentials: Credentials | None = None) -> None:
        configured = Credentials(settings.registry_username, settings.registry_password)
        self.server = Server(
            settings.registry_uri or settings.tracking_uri,
            credentials or configured,
            settings.timeout,
        )
        self.experiment = settings.experiment

    def models(self) -> list[RegisteredModel]:
        """All models with their versions, sorted by name."""
        if self._is_missing_file():
            return []
        with self.server.answering():
            client = self.server.client()
            registered: list[Model] = _all_pages(client.search_registered_models)
            versions: list[Version] = _all_pages(client.search_model_versions)
            found = [self._describe(model, versions) for model in registered]
        return sorted(found, key=lambda model: model.name)

    def model(self, name: str) -> RegisteredModel:
        """One model with its versions.

        Raises
        ------
        ModelNotFoundError
            Listing the names there are.
        """
        if self._is_missing_file():
            raise ModelNotFoundError(f"Nothing has been registered yet. {_REGISTER}")
        try:
            with self.server.answering():
                client = self.server.client()
                registered = client.get_registered_model(name)
                if registered.name != name:
                    raise ValueError("an answer to another question")
                versions: list[Version] = _all_pages(
                    client.search_model_versions, filter_string=_name_filter(name)
                )
                return self._describe(registered, versions)
        except (ModelNotFoundError, InputError):  # a name that cannot be is not there either
            raise ModelNotFoundError(
                f"{self.server.name} has no model {name!r}. {self._there()}"
            ) from None

    def resolve(
        self, name: str, version: int | None = None, alias: str | None = None
    ) -> RegisteredVersion:
        """One version of a model.

        Parameters
        ----------
        name : str
            Registered model.
        version, alias
            Which version; with neither, the one with the alias ``champion`` or else the newest.

        Raises
        ------
        ModelNotFoundError
            Listing what there is.
        """
        model = self.model(name)
        if not model.versions:
            raise ModelNotFoundError(f"The model {name!r} has no version. {_REGISTER}")
        if version is not None:
            wanted = [each for each in model.versions if each.version == version]
        elif alias is not None:
            wanted = [each for each in model.versions if alias in each.aliases]
        else:
            champion = [each for each in model.versions if DEFAULT_ALIAS in each.aliases]
            wanted = champion or model.versions
        if not wanted:
            missing = f"version {version}" if version is not None else f"alias {alias!r}"
            raise ModelNotFoundError(
                f"The model {name!r} has no {missing}. There are: {_listed(model.versions)}"
            )
        return wanted[0]

    def download(
        self, version: RegisteredVersion, folder: Path, on_progress: OnProgress | None = None
    ) -> None:
        """Download the files of `version` into the empty `folder`; nothing is loaded.

        `on_progress` gets the bytes so far and in total. See
        `pipelines.registry.artifacts.download_model` for the errors.
        """
        label = f"Version {version.version} of {version.name}"
        with self.server.answering():
            uri = self.server.client().get_model_version_download_uri(
                version.name, str(version.version)
            )
            repository = artifact_repository(uri, self.server.authenticated_uri)
            download_model(repository, folder, label, version.manifest_sha256, on_progress)

    def register(
        self,
        model: LoggedModel,
        folder: Path,
        name: str,
        alias: str | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RegisteredVersion:
        """Make the logged model, whose files are in `folder`, a new version of `name`.

        In its own store it is referred to; to another one its files are copied, byte for byte.
        If anything fails, the registry is left as it was: the version comes after the files, and
        the alias comes last.

        Parameters
        ----------
        model : LoggedModel
            What is registered.
        folder : Path
            Its files, with a manifest.
        name : str
            Registered model; made if it does not exist.
        alias : str, optional
            Alias to point to the new version.
        metrics : mapping, optional
            Test metrics to show with the version.
        tags : mapping, optional
            More tags of the version.

        Raises
        ------
        InputError
            If the registry does not allow the name or the alias.
        CorruptModelError
            If the files are not those of the manifest.
        """
        verify_manifest(folder, model.manifest_sha256)
        described = {**(tags or {}), MANIFEST_TAG: _digest(folder)}
        if metrics:
            described[METRICS_TAG] = msgspec.json.encode(dict(metrics)).decode()
        self._make_database_folder()
        with self.server.answering(), ExitStack() as undo:
            check_names(name, alias)
            client = self.server.client(writing=True)
            source = self._place(client, model, folder, described, undo)
            _ensure_registered_model(client, name, undo)
            made = client.create_model_version(
                name,
                source.uri,
                run_id=source.run_id,
                tags=described,
                model_id=source.model_id,
                await_creation_for=0,
            )
            undo.callback(_quietly, client.delete_model_version, name, made.version)
            if alias:
                client.set_registered_model_alias(name, alias, made.version)
            undo.pop_all()
        return self.resolve(name, version=int(made.version))

    def point(self, name: str, version: int, alias: str, tags: Mapping[str, str]) -> None:
        """Point `alias` to a version of `name`, and tag the version.

        Raises
        ------
        InputError
            If the registry does not allow the alias.
        """
        check_names(name, alias)
        with self.server.answering():
            client = self.server.client(writing=True)
            for key, value in tags.items():
                client.set_model_version_tag(name, str(version), key, value)
            client.set_registered_model_alias(name, alias, str(version))

    # Reading

    def _is_missing_file(self) -> bool:
        """Asking MLflow would make the database, which takes it many seconds."""
        file = self.server.database_file
        return file is not None and not file.is_file()

    def _describe(
        self,
        model: Model,
        versions: list[Version],
    ) -> RegisteredModel:
        aliases: dict[int, list[str]] = {}
        for alias, number in model.aliases.items():
            aliases.setdefault(int(number), []).append(alias)
        own = (each for each in versions if each.name == model.name and each.status == "READY")
        described = [
            RegisteredVersion(
                name=each.name,
                version=int(each.version),
                created=datetime.fromtimestamp(each.creation_timestamp / 1000, UTC),
                source=self.server.name,
                aliases=sorted(aliases.get(int(each.version), [])),
                tags={key: str(value) for key, value in each.tags.items()},
                metrics=_metrics(each.tags.get(METRICS_TAG)),
            )
            for each in own
        ]
        described.sort(key=lambda each: -each.version)
        return RegisteredModel(
            name=model.name, versions=described, description=model.description or ""
        )

    def _there(self) -> str:
        names = [model.name for model in self.models()]
        return f"There are: {', '.join(names)}" if names else f"It is empty. {_REGISTER}"

    # Registering

    def _place(
        self,
        client: MlflowClient,
        model: LoggedModel,
        folder: Path,
        tags: Mapping[str, str],
        undo: ExitStack,
    ) -> _Source:
        """Make sure that the registry's server has the files."""
        if model.store == self.server.name:
            placed = _Source(model.artifact_uri, model.id, model.run_id or None)
        else:
            placed = self._upload(client, model, folder, tags, undo)
        if self.server.is_http:
            return placed._replace(uri=f"models:/{placed.model_id}")
        # Without a server, MLflow would look the ID up in the store that is set globally.
        return placed._replace(model_id=None)

    def _upload(
        self,
        client: MlflowClient,
        model: LoggedModel,
        folder: Path,
        tags: Mapping[str, str],
        undo: ExitStack,
    ) -> _Source:
        """Copy the files into a new logged model of the registry's server."""
        copy = client.create_logged_model(
            self._experiment_id(client),
            name="model",
            params=dict(model.params),
            tags={**tags, "olens.copied_from": model.id},
        )
        undo.callback(_quietly, client.delete_logged_model, copy.model_id)
        undo.callback(_quietly, self._delete_files, copy.artifact_location)
        client.log_model_artifacts(copy.model_id, str(folder))
        client.finalize_logged_model(copy.model_id, "READY")
        return _Source(copy.artifact_location, copy.model_id, None)

    def _delete_files(self, artifact_uri: str) -> None:
        artifact_repository(artifact_uri, self.server.authenticated_uri).delete_artifacts()

    def _experiment_id(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            return str(client.create_experiment(self.experiment, self._artifact_location()))
        if found.lifecycle_stage != "active":
            raise RegistryError(
                f"The experiment {self.experiment!r} of {self.server.name} was deleted. Restore "
                "it there, or set mlflow.experiment to another name"
            )
        return str(found.experiment_id)

    def _artifact_location(self) -> str | None:
        """The place of files of a new experiment; a server decides that itself."""
        if self.server.is_http:
            return None
        if (file := self.server.database_file) is None:
            raise RegistryError(
                f"{self.server.name} is a database without a place for files. Set "
                "mlflow.registry_uri to the MLflow server that uses it"
            )
        return (file.parent / "artifacts").as_uri()

    def _make_database_folder(self) -> None:
        if (file := self.server.database_file) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)


class _Source(NamedTuple):
    """The source of a model version."""

    uri: str
    model_id: str | None
    run_id: str | None


def _all_pages(search: Callable[..., PagedList[T]], **query: str | None) -> list[T]:
    found, token = [], None
    while True:
        page = search(page_token=token, **query)
        found += page
        if not (token := page.token):
            return found


def _name_filter(name: str) -> str | None:
    """MLflow's filters have no way to escape a quote; without a filter, everything is listed."""
    for quote in ("'", '"'):
        if quote not in name:
            return f"name = {quote}{name}{quote}"
    return None


def _metrics(tag: str | None) -> dict[str, float]:
    """The metrics in a version's tag; someone else's tag of that name counts as none."""
    try:
        return msgspec.json.decode(tag or "{}", type=dict[str, float])
    except msgspec.DecodeError:
        return {}


def _listed(versions: list[RegisteredVersion]) -> str:
    return ", ".join(
        f"{each.version} ({', '.join(each.aliases)})" if each.aliases else str(each.version)
        for each in versions
    )


def _digest(folder: Path) -> str:
    return fingerprint(folder / MANIFEST)[1]


def check_names(name: str, alias: str | None = None) -> None:
    """Find out about a name that MLflow refuses before anything is made or uploaded.

    Raises
    ------
    InputError
        If the registry does not allow the name or the alias.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils import validation

    try:
        validation._validate_model_name(name)
        if alias is not None:
            validation._validate_model_alias_name(alias)
            validation._validate_model_alias_name_reserved(alias)
    except MlflowException as error:
        raise InputError(error.message) from None


def _ensure_registered_model(client: MlflowClient, name: str, undo: ExitStack) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    else:
        undo.callback(_quietly, _delete_if_empty, client, name)


def _delete_if_empty(client: MlflowClient, name: str) -> None:
    if not client.search_model_versions(_name_filter(name), max_results=1):
        client.delete_registered_model(name)


def _quietly(undo: Callable[..., object], *arguments: object) -> None:
    """Undo a step as far as possible: the error that made it necessary is the one to report."""
    with suppress(Exception):
        undo(*arguments)

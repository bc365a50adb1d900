"""Logged models in the tracking store: which one is meant, and its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import InputError, ModelNotFoundError, TrainingError
from pipelines.files import temporary_folder
from pipelines.registry.artifacts import download_model
from pipelines.registry.connection import Credentials, Server
from pipelines.registry.manifest import MANIFEST_TAG, verify_manifest
from pipelines.registry.transfer import artifact_repository

if TYPE_CHECKING:
    import mlflow.entities

    from pipelines.config.settings import MLflow

LATEST: Final = "latest"
_MODEL_ID: Final = re.compile(r"m-[0-9a-f]{32}")
_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")
LOGGED_ID: Final = re.compile(f"{_MODEL_ID.pattern}|{_RUN_ID.pattern}")
"""IDs that `TrackingStore.find` knows: of a logged model, or of the run that logged it."""
_HINT: Final = "Train one with: olens train --log-model"


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that training logged.

    Attributes
    ----------
    id
        MLflow's ID, ``m-...``.
    store
        URI of the tracking store, without credentials.
    artifact_uri
        Where its files are.
    created
        When it was logged, in UTC.
    """

    id: str
    store: str
    artifact_uri: str
    created: datetime
    run_id: str = ""
    tags: dict[str, str] = {}
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}

    @property
    def manifest_sha256(self) -> str | None:
        """SHA-256 of the manifest that was logged."""
        return self.tags.get(MANIFEST_TAG)


class TrackingStore:
    """The models of one experiment.

    Parameters
    ----------
    settings : MLflow
        Names the store and the experiment.
    credentials : Credentials, optional
        For the registry; used when tracking and registry are one server.
    """

    def __init__(self, settings: MLflow, credentials: Credentials | None = None) -> None:
        shared = settings.registry_uri in ("", settings.tracking_uri)
        configured = Credentials(settings.registry_username, settings.registry_password)
        self.server = Server(
            settings.tracking_uri,
            (credentials or configured) if shared else Credentials(),
            settings.timeout,
        )
        self.experiment = settings.experiment

    def find(self, model: str = LATEST) -> LoggedModel:
        """The logged model that `model` names.

        Parameters
        ----------
        model : str
            ``latest`` (the newest finished one of the experiment), the ID of a logged model
            (``m-...``) or of the run that logged it.

        Raises
        ------
        ModelNotFoundError
            Listing the newest models there are.
        InputError
            If `model` is none of the three.
        """
        file = self.server.database_file
        if file is not None and not file.is_file():
            raise ModelNotFoundError(f"Nothing has been tracked in {file} yet. {_HINT}")
        with self.server.answering():
            if model == LATEST:
                found = self._newest()
            elif _MODEL_ID.fullmatch(model):
                found = self._by_id(model)
            elif _RUN_ID.fullmatch(model):
                found = self._by_run(model)
            else:
                raise InputError(
                    f"{model!r} is no model: give {LATEST!r}, the ID of a logged model (m-...) or "
                    f"of a run. {self._there()}"
                )
        return _logged_model(found, self.server.name)

    def recent(self, count: int = 5) -> list[LoggedModel]:
        """The newest finished models of the experiment, newest first."""
        file = self.server.database_file
        if file is not None and not file.is_file():
            return []
        with self.server.answering():
            return [_logged_model(found, self.server.name) for found in self._finished(count)]

    @contextmanager
    def files(self, model: LoggedModel) -> Iterator[Path]:
        """A temporary folder with the files of `model`, checked against its manifest."""
        with temporary_folder("olens-model-") as folder:
            repository = artifact_repository(model.artifact_uri, self.server.authenticated_uri)
            with self.server.answering():
                download_model(repository, folder, f"The model {model.id}", model.manifest_sha256)
            verify_manifest(folder, model.manifest_sha256)
            yield folder

    def keep(self, manifest_sha256: str, artifacts: Mapping[str, str]) -> str | None:
        """Keep texts, by path, as artifacts of the run that logged a model.

        Parameters
        ----------
        manifest_sha256 : str
            SHA-256 of the model's manifest.
        artifacts : mapping of str to str

        Returns
        -------
        str or None
            The ID of the run; None if the experiment has none that logged this model.
        """
        file = self.server.database_file
        if file is not None and not file.is_file():
            return None
        with self.server.answering():
            found = self._finished(1, f"tags.`{MANIFEST_TAG}` = '{manifest_sha256}'")
            run_id = found[0].source_run_id if found else None
            for path, content in artifacts.items() if run_id else ():
                self.server.client().log_text(run_id, content, path)
        return run_id or None

    def _newest(self) -> mlflow.entities.LoggedModel:
        if not (found := self._finished(1)):
            raise ModelNotFoundError(
                f"The experiment {self.experiment!r} has no logged model. {_HINT}"
            )
        return found[0]

    def _by_id(self, id_: str) -> mlflow.entities.LoggedModel:
        try:
            with self.server.answering():
                found = self.server.client().get_logged_model(id_)
        except ModelNotFoundError:
            raise ModelNotFoundError(f"There is no logged model {id_}. {self._there()}") from None
        if not _is_finished(found):
            raise TrainingError(f"Logging of the model {id_} was not finished. {self._there()}")
        return found

    def _by_run(self, run_id: str) -> mlflow.entities.LoggedModel:
        try:
            with self.server.answering():
                experiment = self.server.client().get_run(run_id).info.experiment_id
        except ModelNotFoundError:
            raise ModelNotFoundError(f"There is no run {run_id}. {self._there()}") from None
        if not (found := self._search([experiment], 1, f"source_run_id = '{run_id}'")):
            raise ModelNotFoundError(f"The run {run_id} logged no model. {self._there()}")
        return found[0]

    def _there(self) -> str:
        found = [model.model_id for model in self._finished(5)]
        return f"The newest are: {', '.join(found)}" if found else f"There is none. {_HINT}"

    def _finished(
        self, count: int, condition: str | None = None
    ) -> list[mlflow.entities.LoggedModel]:
        experiment = self.server.client().get_experiment_by_name(self.experiment)
        if experiment is None:
            return []
        return self._search([experiment.experiment_id], count, condition)

    def _search(
        self, experiments: list[str], count: int, condition: str | None = None
    ) -> list[mlflow.entities.LoggedModel]:
        """The newest finished models; unfinished ones cannot be left out by a filter."""
        client, found, token = self.server.client(), [], None
        while True:
            page = client.search_logged_models(
                experiments,
                filter_string=condition,
                order_by=[{"field_name": "creation_timestamp", "ascending": False}],
                page_token=token,
            )
            found += [model for model in page if _is_finished(model)]
            token = page.token
            if len(found) >= count or not token:
                return found[:count]


def _is_finished(model: mlflow.entities.LoggedModel) -> bool:
    return bool(model.status.value == "READY")


def _logged_model(model: mlflow.entities.LoggedModel, store: str) -> LoggedModel:
    return LoggedModel(
        id=model.model_id,
        store=store,
        artifact_uri=model.artifact_location,
        created=datetime.fromtimestamp(model.creation_timestamp / 1000, UTC),
        run_id=model.source_run_id or "",
        tags=dict(model.tags),
        params=dict(model.params),
        metrics={metric.key: metric.value for metric in model.metrics or []},
    )

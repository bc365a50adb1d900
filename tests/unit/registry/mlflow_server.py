"""A stand-in for an MLflow server: the methods of `MlflowClient` that OpinionLens calls."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST


class Page(list[Any]):
    """One of several pages of an answer."""

    token: str | None = None


@dataclass
class FakeClient:
    """Keeps everything in memory, and files in `folder`. A method in `broken` fails.

    A search answers with two entries a page, as a server with many entries does.
    """

    folder: Path
    models: dict[str, SimpleNamespace] = field(default_factory=dict)
    versions: list[SimpleNamespace] = field(default_factory=list)
    logged: dict[str, SimpleNamespace] = field(default_factory=dict)
    experiments: dict[str, SimpleNamespace] = field(default_factory=dict)
    broken: dict[str, BaseException] = field(default_factory=dict)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "broken" and name in self.broken:
            raise self.broken[name]
        return object.__getattribute__(self, name)

    # Registered models

    def create_registered_model(self, name: str) -> None:
        if name in self.models:
            raise MlflowException("exists", RESOURCE_ALREADY_EXISTS)
        self.models[name] = SimpleNamespace(name=name, aliases={}, description="")

    def get_registered_model(self, name: str) -> SimpleNamespace:
        if name not in self.models:
            raise MlflowException("none of that name", RESOURCE_DOES_NOT_EXIST)
        return self.models[name]

    def delete_registered_model(self, name: str) -> None:
        del self.models[name]

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.models[name].aliases[alias] = version

    def search_registered_models(self, page_token: str | None = None) -> Page:
        return _page(list(self.models.values()), page_token)

    # Versions

    def create_model_version(
        self, name: str, source: str, run_id: str | None, tags: dict[str, str],
        model_id: str | None,
        await_creation_for: int,
    ) -> SimpleNamespace:  # fmt: skip
        number = 1 + max((int(v.version) for v in self.versions if v.name == name), default=0)
        made = SimpleNamespace(
            name=name, version=str(number), source=source, run_id=run_id, model_id=model_id,
            tags=tags, status="READY", creation_timestamp=1_700_000_000_000 + number,
        )  # fmt: skip
        self.versions.append(made)
        return made

    def delete_model_version(self, name: str, version: str) -> None:
        self.versions = [v for v in self.versions if (v.name, v.version) != (name, version)]

    def search_model_versions(
        self, filter_string: str | None = None, max_results: int = 2, page_token: str | None = None
    ) -> Page:
        wanted = filter_string.removeprefix("name = ")[1:-1] if filter_string else None
        found = [each for each in self.versions if wanted in (None, each.name)]
        return _page(found, page_token)

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        (found,) = (v for v in self.versions if (v.name, v.version) == (name, version))
        model_id = found.model_id or found.source.removeprefix("models:/")
        return self.logged[model_id].artifact_location if model_id in self.logged else found.source

    # Logged models

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return self.experiments.get(name)

    def create_experiment(self, name: str, artifact_location: str | None = None) -> str:
        self.experiments[name] = SimpleNamespace(
            experiment_id=str(len(self.experiments)), lifecycle_stage="active"
        )
        return str(self.experiments[name].experiment_id)

    def create_logged_model(
        self, experiment_id: str, name: str, params: dict[str, str], tags: dict[str, str],
        source_run_id: str | None = None,
    ) -> SimpleNamespace:  # fmt: skip
        model_id = f"m-{len(self.logged):032x}"
        location = self.folder / model_id
        location.mkdir(parents=True)
        self.logged[model_id] = SimpleNamespace(
            model_id=model_id, experiment_id=experiment_id, params=params, tags=tags, metrics=[],
            status=SimpleNamespace(value="PENDING"), artifact_location=location.as_uri(),
            creation_timestamp=1_700_000_000_000 + len(self.logged), source_run_id=source_run_id,
        )  # fmt: skip
        return self.logged[model_id]

    def log_model_artifacts(self, model_id: str, folder: str) -> None:
        shutil.copytree(folder, self.folder / model_id, dirs_exist_ok=True)

    def finalize_logged_model(self, model_id: str, status: str) -> None:
        self.logged[model_id].status.value = status

    def delete_logged_model(self, model_id: str) -> None:
        del self.logged[model_id]

    def get_logged_model(self, model_id: str) -> SimpleNamespace:
        if model_id not in self.logged:
            raise MlflowException("no such model", RESOURCE_DOES_NOT_EXIST)
        return self.logged[model_id]

    def get_run(self, run_id: str) -> SimpleNamespace:
        for model in self.logged.values():
            if model.source_run_id == run_id:
                return SimpleNamespace(info=SimpleNamespace(experiment_id=model.experiment_id))
        raise MlflowException("no such run", RESOURCE_DOES_NOT_EXIST)

    def search_logged_models(
        self, experiments: list[str], filter_string: str | None, order_by: list[dict[str, Any]],
        page_token: str | None,
    ) -> Page:  # fmt: skip
        assert order_by == [{"field_name": "creation_timestamp", "ascending": False}]
        run = filter_string.partition("'")[2][:-1] if filter_string else None
        found = [
            model
            for model in reversed(self.logged.values())
            if model.experiment_id in experiments and run in (None, model.source_run_id)
        ]
        return _page(found, page_token)


def _page(found: list[Any], token: str | None) -> Page:
    start = int(token or 0)
    page = Page(found[start : start + 2])
    page.token = str(start + 2) if start + 2 < len(found) else None
    return page

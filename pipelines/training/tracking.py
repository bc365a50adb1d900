"""MLflow runs: parameters, metrics, figures and models in the tracking store."""

from __future__ import annotations

import getpass
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.connection import Credentials, Server, set_mlflow_defaults
from pipelines.errors import MissingExtraError, OpinionLensError
from pipelines.manifest import MANIFEST_TAG, write_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.settings import Settings

MODEL_NAME: Final = "model"


class Tracker:
    """The experiment that runs go to.

    Made with `Tracker.open`, which creates the experiment if there is none.
    """

    def __init__(self, client: MlflowClient, server: Server, experiment_id: str) -> None:
        self._client = client
        self._server = server
        self._experiment_id = experiment_id

    @classmethod
    def open(cls, settings: Settings) -> Tracker:
        """Connect to the tracking store of the settings.

        Raises
        ------
        RegistryUnavailableError, RegistryAuthError
            If it is a server and does not let us in.
        MissingExtraError
            If MLflow is not fully installed.
        """
        set_mlflow_defaults(settings.mlflow.timeout)
        try:
            import mlflow.sklearn  # noqa: F401 - mlflow-skinny alone cannot write models
        except ImportError:
            raise MissingExtraError("mlflow", "train") from None
        server = tracking_server(settings)
        if server.database_file is not None:
            server.database_file.parent.mkdir(parents=True, exist_ok=True)
        with server.answering():
            client = server.client()
            name = settings.mlflow.experiment
            found = client.get_experiment_by_name(name)
            if found is None:
                location = None
                if server.database_file is not None:
                    location = (server.database_file.parent / "artifacts").as_uri()
                experiment_id = client.create_experiment(name, location)
            else:
                experiment_id = found.experiment_id
        return cls(client, server, str(experiment_id))

    @contextmanager
    def run(
        self, name: str, tags: Mapping[str, str] | None = None, parent: str | None = None
    ) -> Iterator[Run]:
        """A new run, finished when the block ends, failed or killed when it raises."""
        now = round(time.time() * 1000)
        with self._server.answering():
            created = self._client.create_run(
                self._experiment_id,
                start_time=now,
                run_name=name,
                tags={
                    **_origin(),
                    **({"mlflow.parentRunId": parent} if parent else {}),
                    **(tags or {}),
                },
            )
        with self._ending(created.info.run_id) as run:
            yield run

    @contextmanager
    def resumed(self, run_id: str) -> Iterator[Run]:
        """An earlier run, taken up again."""
        with self._server.answering():
            self._client.update_run(run_id, status="RUNNING")
        with self._ending(run_id) as run:
            yield run

    def unfinished(self, run_id: str) -> bool:
        """Whether there is such a run and it has no parameters yet, which cannot change."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return False
        return run.info.lifecycle_stage == "active" and not run.data.params

    @contextmanager
    def _ending(self, run_id: str) -> Iterator[Run]:
        try:
            yield Run(self._client, self._server, self._experiment_id, run_id)
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            # What happened is what to report, not that this could not be written down.
            with suppress(OpinionLensError):
                self._terminate(run_id, status)
            raise
        self._terminate(run_id, "FINISHED")

    def _terminate(self, run_id: str, status: str) -> None:
        with self._server.answering():
            self._client.set_terminated(run_id, status)


class Run:
    """One run that is going on."""

    def __init__(
        self, client: MlflowClient, server: Server, experiment_id: str, run_id: str
    ) -> None:
        self.id = run_id
        self._client = client
        self._server = server
        self._experiment_id = experiment_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters; MLflow keeps them as text."""
        from mlflow.entities import Param

        entries = [Param(key, str(value)) for key, value in params.items()]
        with self._server.answering():
            self._client.log_batch(self.id, params=entries)

    def log_metrics(self, metrics: Mapping[str, float], model_id: str | None = None) -> None:
        """Log numbers, of the run or of a model that it logged."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        entries = [
            Metric(key, float(value), now, 0, model_id=model_id) for key, value in metrics.items()
        ]
        with self._server.answering():
            self._client.log_batch(self.id, metrics=entries)

    def set_tag(self, key: str, value: str) -> None:
        """Set one tag."""
        with self._server.answering():
            self._client.set_tag(self.id, key, value)

    def log_files(self, folder: Path, artifact_path: str | None = None) -> None:
        """Keep the files of `folder` as artifacts."""
        with self._server.answering():
            self._client.log_artifacts(self.id, str(folder), artifact_path)

    def log_model(
        self,
        folder: Path,
        params: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> str:
        """Log the finished MLflow model in `folder`; returns the ID of the logged model.

        Writes the manifest into it first. The model is marked ready when all of it is stored.
        """
        from mlflow.entities import LoggedModelOutput

        digest = write_manifest(folder)
        with self._server.answering():
            model = self._client.create_logged_model(
                self._experiment_id,
                name=MODEL_NAME,
                source_run_id=self.id,
                params={key: str(value) for key, value in params.items()},
                tags={MANIFEST_TAG: digest, **tags},
            )
            self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.log_outputs(self.id, [LoggedModelOutput(model.model_id, step=0)])
        self.log_metrics(metrics, model_id=model.model_id)
        with self._server.answering():
            self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)


def tracking_server(settings: Settings) -> Server:
    """The tracking store; the registry's credentials are for it too if it is the same server."""
    configured = settings.mlflow
    shared = configured.registry_uri in ("", configured.tracking_uri)
    credentials = Credentials(configured.registry_username, configured.registry_password)
    return Server(
        configured.tracking_uri, credentials if shared else Credentials(), configured.timeout
    )


def _origin() -> dict[str, str]:
    """Tags that MLflow's page shows: who started the run, by what, at which commit."""
    tags = {"mlflow.source.name": "olens", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    commit = git_commit()
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def git_commit() -> str | None:
    """The commit of the folder one stands in, if it is in a git checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None

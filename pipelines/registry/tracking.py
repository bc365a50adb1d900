"""MLflow runs: parameters, metrics, figures and models in the tracking store."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import (
    MissingExtraError,
    OpinionLensError,
    RegistryError,
)
from pipelines.files import explained
from pipelines.registry.connection import Credentials, Server, set_mlflow_defaults
from pipelines.registry.manifest import MANIFEST_TAG, write_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset

    from pipelines.config.settings import Settings

MODEL_NAME: Final = "model"
PROCESS_TAG: Final = "olens.process"
"""Tag of a run: the process that writes it, so that others can check whether it still runs."""
_PID: Final = re.compile("[1-9][0-9]{0,8}")
_KIND: Final = {"mlflow.experimentKind": "custom_model_development"}
"""Without this tag MLflow's pages open in their mode for language models."""


class DatasetInput(msgspec.Struct, frozen=True, kw_only=True):
    """A data set that a run used.

    Attributes
    ----------
    digest : str
        At most 36 characters; another content has another.
    source : Path
        File or folder.
    context : str
        What for: ``training``, ``validation`` or ``testing``.
    rows : int
    columns : mapping
        Name and MLflow type of each.
    """

    name: str
    digest: str
    source: Path
    context: str
    rows: int
    columns: Mapping[str, str]


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
        RegistryError
            If the experiment was deleted.
        StorageError
            If it is a SQLite database that is damaged or cannot be written.
        MissingExtraError
            If MLflow is not fully installed.
        """
        set_mlflow_defaults(settings.mlflow.timeout)
        try:
            import mlflow.sklearn  # noqa: F401 - mlflow-skinny alone cannot write models
        except ImportError:
            raise MissingExtraError("mlflow", "train") from None
        server = tracking_server(settings)
        with server.answering():
            client = server.client(writing=True)
        tracker = cls(client, server, _open_experiment(client, server, settings.mlflow.experiment))
        tracker.end_abandoned_runs()
        return tracker

    def end_abandoned_runs(self) -> None:
        """Mark the running runs of killed processes of this machine as killed."""
        with self._server.answering():
            running = self._client.search_runs(
                [self._experiment_id],
                f"attributes.status = 'RUNNING' AND tags.`{PROCESS_TAG}` != ''",
            )
        for run in running:
            if has_ended(run.data.tags[PROCESS_TAG]):
                self._terminate(run.info.run_id, "KILLED")

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
            self._client.set_tag(run_id, PROCESS_TAG, this_process())
            self._client.update_run(run_id, status="RUNNING")
        with self._ending(run_id) as run:
            yield run

    def end_lost(self, process: str, run_id: str | None) -> None:
        """Mark all that a process left running as killed, if it did not end its run `run_id`.

        None: it was lost before it had begun that run. A run that failed or was killed says that
        its process was there to say so.
        """
        with self._server.answering():
            if run_id and self._client.get_run(run_id).info.status in ("FAILED", "KILLED"):
                return
            left = self._client.search_runs(
                [self._experiment_id],
                f"attributes.status = 'RUNNING' AND tags.`{PROCESS_TAG}` = '{process}'",
            )
        for run in left:
            self._terminate(run.info.run_id, "KILLED")

    def unfinished(self, run_id: str) -> bool:
        """Whether there is such a run, which nobody writes, and without parameters.

        They cannot change.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return False
        active = run.info.lifecycle_stage == "active" and run.info.status != "RUNNING"
        return active and not run.data.params

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

    def log_datasets(self, datasets: Sequence[DatasetInput]) -> None:
        """Log the data sets that the run uses."""
        from mlflow.entities import DatasetInput as Input
        from mlflow.entities import InputTag

        inputs = [
            Input(_dataset(found), [InputTag("mlflow.data.context", found.context)])
            for found in datasets
        ]
        with self._server.answering():
            self._client.log_inputs(self.id, inputs)

    def log_files(self, folder: Path, artifact_path: str | None = None) -> None:
        """Keep the files of `folder` as artifacts."""
        with explained(self._artifacts), self._server.answering():
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
        with explained(self._artifacts), self._server.answering():
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

    @property
    def _artifacts(self) -> Path:
        """The place of files, for messages about a full disk."""
        file = self._server.database_file
        return file.parent / "artifacts" if file is not None else Path(self._server.name)


def _open_experiment(client: MlflowClient, server: Server, name: str) -> str:
    """The ID of the experiment `name`, which is made if there is none."""
    with server.answering():
        found = client.get_experiment_by_name(name)
        if found is None:
            location = None
            if server.database_file is not None:
                location = (server.database_file.absolute().parent / "artifacts").as_uri()
            try:
                return str(client.create_experiment(name, location, tags=_KIND))
            except Exception:
                found = client.get_experiment_by_name(name)
                if found is None:  # Otherwise another process was quicker.
                    raise
        if found.lifecycle_stage != "active":
            raise RegistryError(
                f"The MLflow experiment {name!r} was deleted. Restore it with: MLFLOW_TRACKING_URI="
                f"'{server.name}' mlflow experiments restore --experiment-id "
                f"{found.experiment_id}; or set mlflow.experiment to another name"
            )
        for key, value in _KIND.items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _dataset(dataset: DatasetInput) -> Dataset:
    """As `mlflow.data` writes it; its own classes would want the rows in memory."""
    from mlflow.entities import Dataset

    columns = [
        {"name": name, "type": kind, "required": True} for name, kind in dataset.columns.items()
    ]
    return Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type="local",
        source=json.dumps({"uri": str(dataset.source)}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": dataset.rows}),
    )


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
    tags = {
        "mlflow.source.name": "olens",
        "mlflow.source.type": "LOCAL",
        PROCESS_TAG: this_process(),
    }
    with suppress(OSError, KeyError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    commit = git_commit()
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def this_process() -> str:
    """This process, as `has_ended` understands it."""
    return f"{socket.gethostname()} {os.getpid()} {_start_time(os.getpid())}"


def has_ended(process: str) -> bool:
    """Whether a process, as `this_process` writes it, was one of this machine and is no more."""
    match process.rsplit(" ", 2):
        case [host, pid, started] if host == socket.gethostname() and _PID.fullmatch(pid):
            pass
        case _:  # of another machine, or written by another program
            return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, which may have the number by now
        pass
    return _start_time(int(pid)) != started


def _start_time(pid: int) -> str:
    """When a process began, in ticks since the machine did; a number may be given out again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # no Linux
        return "-"
    return stat.rpartition(")")[2].split()[19]


def git_commit() -> str | None:
    """The commit of the folder one stands in, if it is in a git checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None

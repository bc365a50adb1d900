"""Downloading one file from where MLflow keeps it, and no more bytes than it may have."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from pipelines.errors import CorruptModelError
from pipelines.files import is_full
from pipelines.text.showing import in_one_line

_CHUNK: Final = 1 << 20


class FileInfo(Protocol):
    """One file of an artifact repository."""

    path: str
    file_size: int | None


class ArtifactRepository(Protocol):
    """The part of MLflow's artifact repositories that is needed here."""

    def _download_file(self, remote_file_path: str, local_path: str) -> None: ...
    def list_artifacts(self, path: str | None = None) -> list[FileInfo]: ...
    def delete_artifacts(self) -> None: ...


def artifact_repository(uri: str, tracking_uri: str) -> ArtifactRepository:
    """The artifact repository at `uri`; ``mlflow-artifacts:`` ones are asked of `tracking_uri`."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: ArtifactRepository = get_artifact_repository(
        uri, tracking_uri=tracking_uri, registry_uri=tracking_uri
    )
    return repository


def download_file(
    repository: ArtifactRepository,
    name: str,
    target: Path,
    limit: int,
    on_bytes: Callable[[int], None] = lambda size: None,
) -> bool:
    """Download the file `name` to `target`; False if the repository does not have it.

    Parameters
    ----------
    limit : int
        Bytes that the file may have. An HTTP server is cut off there; other stores (a folder, S3)
        are asked for the size first.
    on_bytes : callable, optional
        Called with the bytes that are there after each piece.

    Raises
    ------
    CorruptModelError
        If the file is larger, or is no plain file.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from requests import HTTPError

    try:
        if isinstance(repository, HttpArtifactRepository):
            _stream(repository, name, target, limit, on_bytes)
        else:
            _copy(repository, name, target, limit)
    except FileNotFoundError:  # every repository has its own way to say that there is no such file
        return False
    except HTTPError as error:
        if error.response is not None and error.response.status_code == 404:
            return False
        raise
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        if error.error_code == "INVALID_PARAMETER_VALUE":  # a link that leads out of the folder
            raise CorruptModelError(
                f"the file {name} cannot be used: {in_one_line(error.message, 200)}"
            ) from None
        raise
    on_bytes(target.stat().st_size)
    return True


def _stream(
    repository: Any, name: str, target: Path, limit: int, on_bytes: Callable[[int], None]
) -> None:
    from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

    endpoint = posixpath.join("/", name)
    with http_request(repository._host_creds, endpoint, "GET", stream=True) as response:
        augmented_raise_for_status(response)
        with target.open("wb") as file:
            for chunk in response.iter_content(_CHUNK):
                _require_within(file.tell() + len(chunk), name, limit)
                file.write(chunk)
                on_bytes(file.tell())


def _copy(repository: ArtifactRepository, name: str, target: Path, limit: int) -> None:
    try:
        for info in repository.list_artifacts(posixpath.dirname(name) or None):
            if info.path == name:
                _require_within(info.file_size or 0, name, limit)
        # The method that each of MLflow's repositories has to define. The public one around it
        # lists folders first and turns every error, a full disk as well, into one text.
        repository._download_file(name, str(target))
    except FileNotFoundError:
        raise
    except OSError as error:
        if is_full(error) or error.filename == str(target):
            raise
        reason = in_one_line(error.strerror or "it is no plain file", 200)
        raise CorruptModelError(f"the file {name} cannot be read: {reason}") from None


def _require_within(size: int, name: str, limit: int) -> None:
    if size > limit:
        raise CorruptModelError(f"the file {name} has more than the {limit:,} bytes it may have")

"""The files of a logged model: which may be used at all, and how they are downloaded."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import msgspec

from pipelines.errors import (
    CorruptModelError,
    ModelNotFoundError,
    StorageError,
    UnsafeModelError,
)
from pipelines.manifest import MANIFEST, Manifest

MLMODEL: Final = "MLmodel"
PICKLE_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"})
SMALL_FILE: Final = 10_000_000
"""Bytes; MLmodel and the manifest are a few thousand."""

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes that will be (None: not known yet)."""


class ArtifactRepository(Protocol):
    """What MLflow calls an artifact repository, as far as it is needed here."""

    def _download_file(self, remote_file_path: str, local_path: str) -> None: ...
    def delete_artifacts(self) -> None: ...


def artifact_repository(uri: str, tracking_uri: str) -> ArtifactRepository:
    """The artifact repository at `uri`; ``mlflow-artifacts:`` ones are asked of `tracking_uri`."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: ArtifactRepository = get_artifact_repository(
        uri, tracking_uri=tracking_uri, registry_uri=tracking_uri
    )
    return repository


def download_model(
    repository: ArtifactRepository,
    folder: Path,
    label: str,
    manifest_sha256: str | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Download the files that a logged model's manifest lists, and the manifest.

    What MLflow or anyone else put beside them stays where it is. Nothing is loaded. The content
    of the files is not checked here (`pipelines.manifest.verify_manifest` does).

    Parameters
    ----------
    repository : ArtifactRepository
        Where the files are.
    folder : Path
        Empty folder to fill.
    label : str
        What the model is called in messages.
    manifest_sha256 : str, optional
        SHA-256 that the manifest must have.
    on_progress : callable, optional
        Called now and then, from another thread.

    Raises
    ------
    UnsafeModelError
        If the model is a pickle, before it is downloaded.
    ModelNotFoundError
        If it has no files.
    CorruptModelError
        If the manifest is missing, is another one or lists impossible names.
    StorageError
        If the disk has too little room.
    """
    _download_description(repository, folder, label)
    refuse_pickle(folder / MLMODEL, label)
    manifest = _download_manifest(repository, folder, label, manifest_sha256)
    _refuse_names(manifest, label)
    total = sum(entry.size for entry in manifest.files.values())
    _require_room(folder, total, label)
    done = 0
    for name, entry in manifest.files.items():
        target = folder / name
        if name != MLMODEL:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _watched(target, done, total, on_progress):
                _download(repository, name, target, label)
        done += entry.size
        if on_progress is not None:
            on_progress(done, total)


def refuse_pickle(mlmodel: Path, label: str) -> None:
    """Refuse a model unless its ``MLmodel`` says that it is a scikit-learn one saved with skops.

    Raises
    ------
    UnsafeModelError
        Saying how to convert it.
    """
    import yaml

    try:
        described = yaml.safe_load(mlmodel.read_bytes())
        flavors = described["flavors"]
        names = " ".join(map(str, _leaves(flavors)))
        sklearn = flavors.get("sklearn") or {}
        format_ = sklearn.get("serialization_format")
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise CorruptModelError(f"{label}: {MLMODEL} is not the description of a model") from None
    pickled = any(PurePosixPath(word).suffix in PICKLE_SUFFIXES for word in names.split())
    if format_ != "skops" or pickled:
        raise UnsafeModelError(
            f"{label} is not a skops model ({format_ or 'no scikit-learn one'}), and loading it "
            "could execute code from the file. Log it again where it was trained, as OpinionLens "
            "does (olens train --log-model), or with mlflow.sklearn.log_model("
            "..., serialization_format='skops')"
        )


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _download_description(repository: ArtifactRepository, folder: Path, label: str) -> None:
    if not _download_small(repository, MLMODEL, folder / MLMODEL):
        raise ModelNotFoundError(f"{label} has no files: {MLMODEL} is not there. Register it again")


def _download_manifest(
    repository: ArtifactRepository, folder: Path, label: str, sha256: str | None
) -> Manifest:
    path = folder / MANIFEST
    if not _download_small(repository, MANIFEST, path):
        raise CorruptModelError(
            f"{label} has no {MANIFEST}: it was not logged by OpinionLens "
            "(olens train --log-model), so its files cannot be checked"
        )
    encoded = path.read_bytes()
    if sha256 is not None and hashlib.sha256(encoded).hexdigest() != sha256:
        raise CorruptModelError(
            f"{label}: {MANIFEST} is not the one that was registered. Register it again"
        )
    try:
        return msgspec.json.decode(encoded, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptModelError(f"{label}: {MANIFEST} is damaged: {error}") from None


def _refuse_names(manifest: Manifest, label: str) -> None:
    """Refuse names that would leave the folder, and files that only a pickle model has."""
    for name in manifest.files:
        path = PurePosixPath(name)
        plain = path.as_posix() == name and "\\" not in name and "\0" not in name
        if not plain or path.is_absolute() or ".." in path.parts or name in {"", ".", MANIFEST}:
            raise CorruptModelError(f"{label}: {MANIFEST} lists the impossible name {name!r}")
        if path.suffix in PICKLE_SUFFIXES:
            raise UnsafeModelError(
                f"{label} contains the pickle {name}, and loading it could execute code. Log the "
                "model again without it (olens train --log-model)"
            )
    if MLMODEL not in manifest.files:
        raise CorruptModelError(f"{label}: {MANIFEST} does not list {MLMODEL}")


def _require_room(folder: Path, needed: int, label: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"The disk of {folder.parent} is full: {label} needs {needed / 1e6:,.1f} MB, and "
            f"{free / 1e6:,.1f} MB are free. Make room, or set paths.models to a folder of "
            "another disk"
        )


def _download_small(repository: ArtifactRepository, name: str, target: Path) -> bool:
    """Download one of the files that describe a model; False if there is none."""
    if not _try_download(repository, name, target):
        return False
    if target.stat().st_size > SMALL_FILE:
        raise CorruptModelError(f"{name} has {target.stat().st_size:,} bytes: it is not ours")
    return True


def _download(repository: ArtifactRepository, name: str, target: Path, label: str) -> None:
    if not _try_download(repository, name, target):
        raise CorruptModelError(f"{label}: the file {name} is missing. Register it again")


def _try_download(repository: ArtifactRepository, name: str, target: Path) -> bool:
    """Download a file that may be missing, which every repository says in its own way."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    try:
        # The method that each of MLflow's repositories has to define. The public one around it
        # lists folders first and turns every error, a full disk as well, into one text.
        repository._download_file(name, str(target))
    except FileNotFoundError:
        return False
    except HTTPError as error:
        if error.response is not None and error.response.status_code == 404:
            return False
        raise
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


@contextmanager
def _watched(path: Path, before: int, total: int, on_progress: OnProgress | None) -> Iterator[None]:
    """Report the growth of the file that is being downloaded."""
    if on_progress is None:
        yield
        return
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(0.2):
            if path.exists():
                on_progress(min(before + path.stat().st_size, total), total)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

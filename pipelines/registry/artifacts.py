"""The files of a logged model: which of them may be used, and downloading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pipelines.errors import CorruptModelError, ModelNotFoundError, UnsafeModelError
from pipelines.files import require_room
from pipelines.registry.manifest import MANIFEST, Manifest, parse_manifest
from pipelines.registry.transfer import ArtifactRepository, download_file
from pipelines.text.showing import in_one_line

MLMODEL: Final = "MLmodel"
PICKLE_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"})
SMALL_FILE: Final = 200_000
"""Bytes that `MLmodel` or the manifest may have; ours have a few thousand."""
LONGEST_NAME: Final = 200
"""Bytes of a file's name with its folders; ours have forty."""
_DEEPEST: Final = 20
"""Levels that `MLmodel` may have; MLflow's own have six."""

_AGAIN: Final = "Register it again"

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes that will be (None: not known yet)."""


def download_model(
    repository: ArtifactRepository,
    folder: Path,
    label: str,
    manifest_sha256: str | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Download the files that a logged model's manifest lists, and the manifest.

    Other files beside them are not downloaded, and no file is loaded. A file that is larger than
    the manifest says is given up at that size. The content of the files is not checked here
    (`pipelines.registry.manifest.verify_manifest` does).

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
        Called after each piece that has arrived.

    Raises
    ------
    UnsafeModelError
        If the model is a pickle, before it is downloaded.
    ModelNotFoundError
        If it has no files.
    CorruptModelError
        If the manifest is missing, is another one or lists impossible names, or a file is missing
        or larger than it should be.
    StorageError
        If the disk has too little room.
    """
    try:
        manifest = _download_description(repository, folder, label, manifest_sha256)
        total = sum(entry.size for entry in manifest.files.values())
        require_room(folder, total, label)
        done = 0
        for name, entry in manifest.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)

            def report(size: int, before: int = done) -> None:
                if on_progress is not None:
                    on_progress(before + size, total)

            if name != MLMODEL and not download_file(repository, name, target, entry.size, report):
                raise CorruptModelError(f"the file {name} is missing")
            done += entry.size
            report(0, done)
    except CorruptModelError as error:
        raise CorruptModelError(f"{label}: {error}. {_AGAIN}") from None


def _download_description(
    repository: ArtifactRepository, folder: Path, label: str, manifest_sha256: str | None
) -> Manifest:
    """Download and check `MLmodel` and the manifest, which say what the other files are."""
    if not download_file(repository, MLMODEL, folder / MLMODEL, SMALL_FILE):
        raise ModelNotFoundError(f"{label} has no files: {MLMODEL} is not there. {_AGAIN}")
    refuse_pickle((folder / MLMODEL).read_bytes(), label)
    if not download_file(repository, MANIFEST, folder / MANIFEST, SMALL_FILE):
        raise CorruptModelError(
            f"it has no {MANIFEST}, so it was not logged by OpinionLens (olens train --log-model) "
            "and its files cannot be checked"
        )
    manifest = parse_manifest((folder / MANIFEST).read_bytes(), manifest_sha256)
    _refuse_names(manifest, label)
    return manifest


def refuse_pickle(mlmodel: bytes, label: str) -> None:
    """Refuse a model unless its ``MLmodel`` says that it is a scikit-learn one saved with skops.

    Raises
    ------
    UnsafeModelError
        Saying how to convert it.
    CorruptModelError
        If ``MLmodel`` is not what MLflow writes.
    """
    try:
        flavors = _read_yaml(mlmodel)["flavors"]
        names = " ".join(_leaves(flavors))
        format_ = (flavors.get("sklearn") or {}).get("serialization_format")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptModelError(f"{MLMODEL} is not the description of a model") from None
    pickled = any(PurePosixPath(word).suffix in PICKLE_SUFFIXES for word in names.split())
    if format_ != "skops" or pickled:
        kind = in_one_line(str(format_ or "no scikit-learn one"), 40)
        raise UnsafeModelError(
            f"{label} is not a skops model ({kind}), and "
            "loading it could execute code from the file. Log it again where it was trained, as "
            "OpinionLens does (olens train --log-model), or with mlflow.sklearn.log_model("
            "..., serialization_format='skops')"
        )


def _read_yaml(content: bytes) -> Any:
    """The YAML document `content` with every scalar as text; a `ValueError` if it is too much.

    An alias repeats what its anchor names, so a few hundred bytes could stand for gigabytes; MLflow
    writes none. A long document takes seconds for each megabyte.
    """
    import yaml

    if len(content) > SMALL_FILE:
        raise ValueError(f"more than {SMALL_FILE:,} bytes")

    # The base loader builds strings, lists and dictionaries only.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    depth = 0
    try:
        for event in yaml.parse(content, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise ValueError("an alias, or too many levels")
        return yaml.load(content, Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield str(value)


def _refuse_names(manifest: Manifest, label: str) -> None:
    """Refuse names that would leave the folder, and files that only a pickle model has."""
    for name in manifest.files:
        if _is_impossible(name, manifest):
            raise CorruptModelError(f"{MANIFEST} lists the impossible name {name[:200]!r}")
        if PurePosixPath(name).suffix in PICKLE_SUFFIXES:
            raise UnsafeModelError(
                f"{label} contains the pickle {name[:200]}, and loading it could execute code. Log "
                "the model again without it (olens train --log-model)"
            )
    if MLMODEL not in manifest.files:
        raise CorruptModelError(f"{MANIFEST} does not list {MLMODEL}")


def _is_impossible(name: str, manifest: Manifest) -> bool:
    """Whether a file may not be called so: it would leave the folder, or lie in another file."""
    if len(name.encode()) > LONGEST_NAME or "\\" in name or not name.isprintable():
        return True
    path = PurePosixPath(name)
    if path.as_posix() != name or path.is_absolute() or ".." in path.parts:
        return True
    in_file = any(folder.as_posix() in manifest.files for folder in path.parents)
    return in_file or name in {"", ".", MANIFEST}

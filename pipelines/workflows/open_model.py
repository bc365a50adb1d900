"""A model's name, as people type it -> the model, ready to answer.

All commands, the server and ``import opinionlens`` use the names that `resolve` lists.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pipelines.base_model.opening import FOLDERS, base_model
from pipelines.cache.entries import ENTRY, ID, MODEL, CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.errors import ModelNotFoundError, RegistryError
from pipelines.files import fingerprint
from pipelines.inference.linear_scorer import TABLE_FILE, LinearScorer
from pipelines.inference.loading import load_logged, load_scorer
from pipelines.inference.packing import PACKED_FILE
from pipelines.registry.client import DEFAULT_ALIAS, Registry
from pipelines.registry.logged_models import LATEST, LOGGED_ID, LoggedModel, TrackingStore
from pipelines.registry.manifest import MANIFEST
from pipelines.text.showing import in_one_line
from pipelines.workflows.answering import answering_model
from pipelines.workflows.fetch import fetch_model

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.inference.scorer import Scorer
    from pipelines.registry.artifacts import OnProgress
    from pipelines.registry.connection import Credentials

_VERSION: Final = re.compile(r"(?P<name>.+)/(?P<version>[1-9]\d*)")
_ALIAS: Final = re.compile(r"(?P<name>.+)@(?P<alias>[^@/]+)")
_CACHED_ID: Final = re.compile(r"(?P<name>.+)-v(?P<version>[1-9]\d*)")
_LIST: Final = "`olens models list` lists the models"


class OpenedModel(NamedTuple):
    """A model that is ready to answer, and its name."""

    id: str
    scorer: Scorer
    size: int = 0
    """Bytes of its files."""
    manifest_sha256: str | None = None
    """SHA-256 of its manifest, which tells logged models apart; the base model has none."""

    @property
    def title(self) -> str:
        """The ID; that of a base model says where it comes from."""
        return f"{self.id} (comes with OpinionLens)" if self.id in FOLDERS else self.id


class RegistryName(NamedTuple):
    """A name that a registry understands: ``NAME``, ``NAME/3`` or ``NAME@alias``."""

    name: str
    version: int | None = None
    alias: str | None = None


def open_model(
    settings: Settings, model: str | None = None, on_progress: OnProgress | None = None
) -> OpenedModel:
    """Open the model that `model` names; see `resolve` for the names and the errors."""
    found = resolve(settings, model, on_progress)
    if isinstance(found, CachedModel):
        return _opened(found.id, load_scorer(found.path), found.path)
    if isinstance(found, Path):
        return _opened(found.name, _scorer_of_folder(found), found)
    store = TrackingStore(settings.mlflow)
    with store.files(found) as folder:
        return _opened(found.id, load_logged(folder), folder)


def resolve(
    settings: Settings,
    model: str | None = None,
    on_progress: OnProgress | None = None,
    credentials: Credentials | None = None,
) -> CachedModel | LoggedModel | Path:
    """Find the model that `model` names.

    The registry is asked only for a model that is not in the cache, and what it has is fetched
    into the cache.

    Parameters
    ----------
    settings : Settings
        Names the cache, the registry and the tracking store.
    model : str, optional
        - None: the active model of the cache, else `base`.
        - ``base`` or ``base3``: one that comes with OpinionLens; base3 knows neutral texts too.
        - ``reviews``: a registered model: the version with the alias ``champion``, else the newest.
        - ``reviews@champion``, ``reviews/3`` or ``reviews-v3``: one version of it. MLflow's
          ``models:/reviews/3`` means the same.
        - ``latest``: the newest logged model of the tracking store.
        - ``m-...`` or a run ID: a logged model.
        - A path: a folder with a logged model or an entry of a model cache. A path that looks
          like one of the other names is written with ``./``.
    on_progress : callable, optional
        Called with the bytes so far and in total while a model is fetched.
    credentials : Credentials, optional
        For the registry, instead of those of the settings.

    Returns
    -------
    CachedModel, LoggedModel or Path
        An entry of the cache (the base model too), a logged model, or a folder.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, with similar names; or if the active model cannot be used.
    RegistryUnavailableError, RegistryAuthError
        If the model is not in the cache and the registry does not answer.
    """
    cache = ModelCache(settings.paths.models)
    if model is None:
        answering = answering_model(cache)
        if answering is None:
            raise ModelNotFoundError(cache.active_problem() or "The active model is missing")
        return answering
    model = model.strip().removeprefix("models:/")
    if model in FOLDERS:
        return base_model(model)
    if model == LATEST or LOGGED_ID.fullmatch(model):
        return TrackingStore(settings.mlflow, credentials).find(model)
    if model.startswith((os.sep, ".", "~")):
        return _folder(model)
    if (cached := find_cached(cache, model)) is not None:
        return cached
    if _is_folder(Path(model)):
        return _folder(model)
    return _fetch(settings, cache, model, on_progress, credentials)


def resolve_cached(
    settings: Settings, model: str, on_progress: OnProgress | None = None
) -> CachedModel:
    """As `resolve`, for what needs a model of the cache: a server, or `olens models activate`.

    Raises
    ------
    ModelNotFoundError
        Also if `model` names a logged model or a folder, with the commands that help.
    """
    found = resolve(settings, model, on_progress)
    if isinstance(found, CachedModel):
        return found
    raise ModelNotFoundError(
        f"{_shown(model)} is not a registered model. Register it, then fetch it: "
        f"olens register {_shown(model)} NAME && olens fetch NAME --activate"
    )


def find_cached(cache: ModelCache, model: str) -> CachedModel | None:
    """The model of `cache` that `model` names by its ID, name, version or alias; else None.

    Raises
    ------
    CorruptModelError
        If `model` is the ID of an entry that cannot be read.
    """
    if ID.fullmatch(model) and _is_folder(cache.folder / model):
        return cache.get(model)
    wanted = parse_name(model)
    known = [each for each in cache.list() if each.name == wanted.name]
    if wanted.version is not None:
        known = [each for each in known if each.version == wanted.version]
    elif wanted.alias is not None:
        known = [each for each in known if wanted.alias in each.aliases]
    champions = [each for each in known if DEFAULT_ALIAS in each.aliases]
    return max(champions or known, key=lambda each: each.version, default=None)


def parse_name(model: str) -> RegistryName:
    """``reviews/3`` -> name and version, ``reviews@champion`` -> name and alias."""
    if found := _VERSION.fullmatch(model):
        return RegistryName(found["name"], version=int(found["version"]))
    if found := _ALIAS.fullmatch(model):
        return RegistryName(found["name"], alias=found["alias"])
    return RegistryName(model)


def _fetch(
    settings: Settings,
    cache: ModelCache,
    model: str,
    on_progress: OnProgress | None,
    credentials: Credentials | None,
) -> CachedModel:
    """Fetch a model that the cache does not have."""
    wanted = parse_name(model)
    by_id = _CACHED_ID.fullmatch(model)
    try:
        if by_id and wanted == RegistryName(model):
            wanted = RegistryName(by_id["name"], version=int(by_id["version"]))
        return fetch_model(settings, *wanted, on_progress=on_progress, credentials=credentials)
    except ModelNotFoundError as error:
        reason = str(error)
    except RegistryError as error:
        raise type(error)(
            f"There is no model {_shown(model)} in the cache, and the registry cannot be asked: "
            f"{error}"
        ) from None
    raise ModelNotFoundError(
        f"There is no model {_shown(model)}. {_similar(settings, cache, wanted)}{reason}. {_LIST}"
    ) from None


def _similar(settings: Settings, cache: ModelCache, wanted: RegistryName) -> str:
    """A question that names the models whose names are like the one that was typed."""
    names = {*FOLDERS, LATEST, *(each.name for each in cache.list())}
    names |= {model.name for model in Registry(settings.mlflow).models()}
    found = difflib.get_close_matches(wanted.name, sorted(names - {wanted.name}), n=3)
    return f"Did you mean {' or '.join(found)}? " if found else ""


def _folder(model: str) -> Path:
    path = Path(model).expanduser()
    if not _is_folder(path):
        what = "is a file" if os.path.lexists(path) else "does not exist"
        raise ModelNotFoundError(
            f"{_shown(model)} {what}: the path of a model is a folder, that of a logged model or "
            "an entry of a model cache"
        )
    return path.resolve()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _opened(id_: str, scorer: Scorer, folder: Path) -> OpenedModel:
    """The model whose files are in `folder`; of an entry of the cache, those that were logged."""
    files = folder / MODEL if (folder / ENTRY).is_file() else folder
    manifest = files / MANIFEST
    return OpenedModel(
        id_,
        scorer,
        sum(path.stat().st_size for path in files.rglob("*") if path.is_file()),
        fingerprint(manifest)[1] if manifest.is_file() else None,
    )


def _scorer_of_folder(folder: Path) -> Scorer:
    """The scorer of an entry of a model cache, or of a logged model."""
    if not any((folder / name).is_file() for name in (ENTRY, TABLE_FILE, PACKED_FILE)):
        return load_logged(folder)
    scorer = load_scorer(folder)
    if isinstance(scorer, LinearScorer):
        from pipelines.inference.compiling import check_table

        check_table(scorer)  # nothing else has looked at a table that was not installed
    return scorer


def _shown(model: str) -> str:
    return in_one_line(model, 80)

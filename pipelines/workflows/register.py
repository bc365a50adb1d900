"""`olens register`: any model -> a new version in the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.base_model.opening import (
    BASE,
    CARD_FILE,
    FOLDERS,
    METRICS_FILE,
    base_sha256,
    open_base,
)
from pipelines.cache.entries import ENTRY, MODEL, CachedModel
from pipelines.errors import InputError, ModelNotFoundError
from pipelines.files import temporary_folder
from pipelines.labels import CLASSES_TAG
from pipelines.registry.client import Registry, check_names
from pipelines.registry.logged_models import LATEST, LoggedModel, TrackingStore
from pipelines.registry.versions import DATA_TAG
from pipelines.text.languages import LANGUAGE_TAG
from pipelines.training.evaluation import Metrics
from pipelines.training.persistence import classes_of, language_of, load_pipeline
from pipelines.workflows.open_model import resolve

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.registry.connection import Credentials
    from pipelines.registry.versions import RegisteredVersion

TABLE_TAG: Final = "olens.base.sha256"
"""Tag of a logged base model: SHA-256 of the packed table it was made of."""


def register(
    settings: Settings,
    name: str,
    model: str = LATEST,
    alias: str | None = None,
    credentials: Credentials | None = None,
) -> RegisteredVersion:
    """Register a model as a new version of `name`.

    Parameters
    ----------
    settings : Settings
        Names the tracking store, the cache and the registry.
    name : str
        Registered model; made if it does not exist.
    model : str
        Any name that `resolve` knows. A model that is not logged yet (``base``, one of the cache,
        a folder) is copied.
    alias : str, optional
        Alias to point to the new version, such as ``champion``.
    credentials : Credentials, optional
        For the registry, instead of those of the settings.

    Raises
    ------
    ModelNotFoundError, CorruptModelError, UnsafeModelError, RegistryError, InputError
    """
    check_new_name(name, alias)
    if model in FOLDERS:
        model = log_base(settings, model)
    found = resolve(settings, model, credentials=credentials)
    registry = Registry(settings.mlflow, credentials)
    if isinstance(found, LoggedModel):
        with TrackingStore(settings.mlflow, credentials).files(found) as logged:
            metrics = read_metrics(logged / METRICS_FILE) or found.metrics
            tags: dict[str, str] = {
                key: found.tags[key] for key in (CLASSES_TAG, LANGUAGE_TAG) if key in found.tags
            }
            tags |= {DATA_TAG: _datasets(found)} if metrics else {}
            return registry.register(found, logged, name, alias, metrics, tags)
    folder = found if isinstance(found, Path) else found.path
    folder = folder / MODEL if (folder / ENTRY).is_file() else folder
    pipeline = load_pipeline(folder)  # nothing is registered that could not be fetched
    copied = LoggedModel(
        id=found.id if isinstance(found, CachedModel) else folder.name,
        store="",  # none, so that the registry gets the files
        artifact_uri="",
        created=datetime.now(UTC),
    )
    metrics = read_metrics(folder / METRICS_FILE)
    tags = {LANGUAGE_TAG: language_of(pipeline), **classes_of(pipeline).tags}
    return registry.register(copied, folder, name, alias, metrics, tags)


def check_new_name(name: str, alias: str | None = None) -> None:
    """Refuse a name for a registered model, or an alias, before anything is made for it.

    Raises
    ------
    InputError
        If the registry does not allow it, or commands understand something else by the name.
    """
    if name in FOLDERS or name == LATEST:
        raise InputError(
            f"{name} names something else everywhere a model is named: "
            f"{'the newest logged model' if name == LATEST else 'it comes with OpinionLens'}. "
            "Choose another name."
        )
    check_names(name, alias)


def _datasets(model: LoggedModel) -> str:
    """The data sets that a logged model was trained and tested on."""
    hashed = [re.fullmatch(r"data\.(.+)\.sha256", name) for name in model.tags]
    return model.tags.get("datasets") or ", ".join(found[1] for found in hashed if found)


def read_metrics(path: Path) -> Mapping[str, float]:
    """The test metrics that training wrote beside the model.

    They are the numbers under ``test``, or those of the top level; other values are left out.
    """
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError):
        return {}
    metrics = content.get("test", content)
    if not isinstance(metrics, Mapping):
        return {}
    return {
        str(key): float(value)
        for key, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def log_base(settings: Settings, name: str = BASE) -> str:
    """Put a base model into the tracking store, unless it is there; returns its ID.

    It goes to an experiment of its own, so that ``latest`` goes on meaning what was trained last.

    Raises
    ------
    MissingExtraError
        Without the extra `train`, whose MLflow writes models.
    """
    from pipelines.inference.compiling import as_pipeline
    from pipelines.registry.tracking import Tracker
    from pipelines.training.persistence import EXAMPLE, save_model
    from pipelines.training.runs import flattened
    from pipelines.training.text_profile import read_profile

    experiment = f"{settings.mlflow.experiment}-{name}"
    mlflow = msgspec.structs.replace(settings.mlflow, experiment=experiment)
    digest = base_sha256(name)
    try:
        logged = TrackingStore(mlflow).find()
        if logged.tags.get(TABLE_TAG) == digest:
            return logged.id
    except ModelNotFoundError:
        pass  # the first time
    metrics = msgspec.json.decode(
        (FOLDERS[name] / METRICS_FILE).read_bytes(), type=dict[str, Metrics]
    )
    scorer = open_base(name)
    tags = {TABLE_TAG: digest, LANGUAGE_TAG: "en", **scorer.classes.tags}
    tracker = Tracker.open(msgspec.structs.replace(settings, mlflow=mlflow))
    with tracker.run(f"{name} model", tags) as run, temporary_folder() as temporary:
        folder = temporary / "model"
        card = (FOLDERS[name] / CARD_FILE).read_text(encoding="utf-8")
        profile = read_profile(FOLDERS[name])
        save_model(as_pipeline(scorer), folder, card, metrics, EXAMPLE, profile)
        return run.log_model(folder, {"subject": name}, flattened(metrics), tags)

"""Every model that a command can name: base models, cached, registered and logged ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from pipelines.base_model.opening import FOLDERS, base_model
from pipelines.cache.entries import CachedModel, model_id
from pipelines.cache.model_cache import ModelCache
from pipelines.errors import CorruptModelError, InputError, OpinionLensError
from pipelines.registry.client import Registry
from pipelines.registry.logged_models import LoggedModel, TrackingStore
from pipelines.workflows.answering import answering_id

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.registry.versions import RegisteredVersion

LOGGED: Final = 10
"""Logged models that are listed, the newest."""


Place = Literal["package", "cached", "registered", "logged"]


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model.

    Attributes
    ----------
    id
        What a command calls it.
    active
        Whether it answers where no model is named.
    places
        Where it is: it comes with the package, is in the cache, in the registry or in the
        tracking store.
    name, version
        Of a registered model. The name of a logged one is its subject.
    created
        When it was registered or logged, in UTC; of a base model, when it was installed.
    fetched
        When it came into the cache.
    size
        Bytes in the cache.
    """

    id: str
    active: bool
    places: list[Place]
    name: str
    version: int | None = None
    aliases: list[str] = []
    metrics: dict[str, float] = {}
    created: datetime
    fetched: datetime | None = None
    size: int | None = None


class Listing(msgspec.Struct, frozen=True):
    """All models, and what kept some from being listed."""

    models: list[ListedModel]
    problems: list[str]


def list_models(settings: Settings, everywhere: bool = True) -> Listing:
    """List the base models, those of the cache, of the registry, and the newest logged ones.

    A registry or a tracking store that does not answer is a problem of the listing, no error.
    With `everywhere` false they are not asked.
    """
    cache = ModelCache(settings.paths.models)
    active = answering_id(cache)
    problems: list[str] = []
    models: list[ListedModel] = []
    for name in FOLDERS:
        try:
            models.append(_cached(base_model(name), None, active))
        except CorruptModelError as error:
            problems.append(str(error))
    cached = {model.id: model for model in cache.list()}
    registered: dict[str, RegisteredVersion] = {}
    logged: list[LoggedModel] = []
    if everywhere:
        try:
            registered = dict(_registered(settings))
        except OpinionLensError as error:
            problems.append(str(error))
        try:
            logged = TrackingStore(settings.mlflow).recent(LOGGED)
        except OpinionLensError as error:
            problems += [str(error)] if str(error) not in problems else []
    models += [_cached(model, registered.get(id_), active) for id_, model in cached.items()]
    models += [_only_registered(id_, v) for id_, v in registered.items() if id_ not in cached]
    models += [_logged(model) for model in logged]
    return Listing(models, problems)


def _registered(settings: Settings) -> Iterator[tuple[str, RegisteredVersion]]:
    """The registered versions by the ID that they have in the cache."""
    for model in Registry(settings.mlflow).models():
        for version in reversed(model.versions):
            try:
                yield model_id(version.name, version.version), version
            except InputError:
                continue  # its name cannot be that of a folder, so it cannot be fetched


def _cached(
    model: CachedModel, registered: RegisteredVersion | None, active: str | None
) -> ListedModel:
    return ListedModel(
        id=model.id,
        active=model.id == active,
        places=_places(model, registered),
        name=model.name,
        version=None if model.id in FOLDERS else model.version,
        aliases=registered.aliases if registered else model.aliases,
        metrics=model.metrics,
        created=model.created,
        fetched=None if model.id in FOLDERS else model.fetched,
        size=model.size,
    )


def _places(model: CachedModel, registered: RegisteredVersion | None) -> list[Place]:
    if model.id in FOLDERS:
        return ["package"]
    return ["cached", "registered"] if registered else ["cached"]


def _only_registered(id_: str, version: RegisteredVersion) -> ListedModel:
    return ListedModel(
        id=id_,
        active=False,
        places=["registered"],
        name=version.name,
        version=version.version,
        aliases=version.aliases,
        metrics=version.metrics,
        created=version.created,
    )


def _logged(model: LoggedModel) -> ListedModel:
    accuracy = model.metrics.get("test.accuracy", model.metrics.get("accuracy"))
    return ListedModel(
        id=model.id,
        active=False,
        places=["logged"],
        name=model.params.get("subject", model.id),
        metrics={} if accuracy is None else {"accuracy": accuracy},
        created=model.created,
    )

"""Which model answers: the active one of the cache, or a base model."""

from __future__ import annotations

from msgspec import UNSET

from pipelines.base_model.opening import BASE, FOLDERS, base_model
from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.errors import ModelError, ModelInUseError


def answering_model(cache: ModelCache) -> CachedModel | None:
    """The model that answers: the active one of `cache` or the package, else `base`.

    None when the active model cannot be used: another one must not answer in its place silently.

    Raises
    ------
    CorruptModelError
        If it is the base model, and that is damaged.
    """
    if cache.is_inactive():
        return base_model()
    id_ = cache.active_id()
    return base_model(id_) if id_ in FOLDERS else cache.active()


def local_model(cache: ModelCache, model_id: str) -> CachedModel:
    """The model of `cache`, or the base model, that is called `model_id`.

    Raises
    ------
    ModelNotFoundError, CorruptModelError
        See `ModelCache.get`.
    """
    return base_model(model_id) if model_id in FOLDERS else cache.get(model_id)


def answering_id(cache: ModelCache) -> str | None:
    """The ID of the model that answers, also if the base model is damaged."""
    if cache.is_inactive():
        return BASE
    if (id_ := cache.active_id()) in FOLDERS:
        return id_
    active = cache.active()
    return active.id if active else None


def id_before(cache: ModelCache) -> str | None:
    """The ID of the model that answered before the one that answers now, to go back to.

    None if there was none, or it can no longer be used.
    """
    before = cache.id_before()
    if before is None:
        return BASE
    try:
        return None if before is UNSET else local_model(cache, before).id
    except ModelError:
        return None


def activate_model(cache: ModelCache, model_id: str) -> CachedModel:
    """Let the model of `cache` called `model_id` answer from now on, or a base model.

    Raises
    ------
    ModelNotFoundError, CorruptModelError
        See `ModelCache.activate`.
    """
    if model_id not in FOLDERS:
        return cache.activate(model_id)
    model = base_model(model_id)
    cache.deactivate(None if model_id == BASE else model_id)
    return model


def remove_model(cache: ModelCache, model_id: str) -> None:
    """Delete the model of `cache` called `model_id`.

    Raises
    ------
    ModelInUseError, ModelNotFoundError
        See `ModelCache.remove`; base models cannot be removed either.
    """
    if model_id in FOLDERS:
        raise ModelInUseError(f"{model_id} comes with OpinionLens and cannot be removed.")
    cache.remove(model_id)

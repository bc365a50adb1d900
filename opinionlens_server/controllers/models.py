"""``/api/v1/models``: the models on this machine and those of the registry."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Controller, delete, get, post, put
from litestar.openapi.spec import SecurityRequirement
from litestar.params import FromPath, JSONBody
from litestar.types import Guard

from opinionlens_server.dependencies import (
    ActiveModelDependency,
    CacheDependency,
    FetchesDependency,
    ListingDependency,
)
from opinionlens_server.documentation import problems
from opinionlens_server.fetches import FetchRequest
from opinionlens_server.guards import require_admin
from pipelines.errors import InputError, ModelNotFoundError
from pipelines.inference.base import BASE, answering_model, base_model, remove_model
from pipelines.registry.entries import CachedModel
from pipelines.registry.versions import RegisteredModel

ADMIN: Final[list[Guard]] = [require_admin]
"""For routes that change something or spend the registry's credentials."""

TOKEN: Final[list[SecurityRequirement]] = [{"adminToken": []}]
"""The same for the OpenAPI document."""


DENIED: Final = (400, 401, 403, 429, 500)
"""What each of them may answer besides."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the cache of this machine."""

    id: str
    name: str
    version: int
    aliases: list[str]
    active: bool
    """Whether it is the one that answers."""
    created: datetime
    """When the version was registered."""
    fetched: datetime
    """When it came to this machine."""
    size: int
    """Bytes on disk."""
    metrics: dict[str, float]
    tags: dict[str, str]


class ActivateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model of the cache should answer."""

    id: Annotated[str, msgspec.Meta(examples=["sentiment-v1"])]


class ModelsController(Controller):
    """Look at, fetch, activate and remove models."""

    path = "/models"
    tags = ("models",)

    @get(
        "/",
        sync_to_thread=True,
        summary="The models on this machine",
        responses=problems(500),
    )
    def list_models(self, cache: CacheDependency) -> list[Model]:
        """All usable models of the cache."""
        active = cache.active()
        return [_describe(model, active) for model in cache.list()]

    @post(
        "/",
        summary="Fetch a model from the registry",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 404, 409, 413, 422, 502, 503, 507),
    )
    async def fetch(
        self,
        data: JSONBody[FetchRequest],
        active_model: ActiveModelDependency,
        fetches: FetchesDependency,
    ) -> Model:
        """Download, check and compile a version, and let it answer if `set_default` is true."""
        if data.model_version is not None and data.alias is not None:
            raise InputError("Name a model_version or an alias, not both.")
        fetched = await fetches.run(data)
        return _describe(fetched, await asyncio.to_thread(active_model.cache.active))

    @get(
        "/registry",
        summary="The models of the registry",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 502, 503),
    )
    async def list_registry(self, listing: ListingDependency) -> list[RegisteredModel]:
        """Names, versions, aliases and metrics that the registry offers."""
        return await listing.models()

    @get(
        "/active",
        sync_to_thread=True,
        summary="The active model",
        responses=problems(404, 500),
    )
    def get_active(self, cache: CacheDependency) -> Model:
        """The model that answers: the one the cache names, or the base model if none ever was."""
        active = answering_model(cache)
        if active is None:
            raise ModelNotFoundError(cache.active_problem() or "No model is active.")
        return _describe(active, active)

    @put(
        "/active",
        summary="Let another model answer",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 404, 413, 422, 507),
    )
    async def activate(
        self, data: JSONBody[ActivateRequest], active_model: ActiveModelDependency
    ) -> Model:
        """Check the files of a model and make it the active one, for all workers."""
        activated = await active_model.activate(data.id)
        return _describe(activated, activated)

    @get(
        "/{model_id:str}",
        sync_to_thread=True,
        summary="One model",
        responses=problems(400, 404, 500),
    )
    def get_model(self, model_id: FromPath[str], cache: CacheDependency) -> Model:
        """What is known about one model of the cache, or about the base model."""
        model = base_model() if model_id == BASE else cache.get(model_id)
        return _describe(model, answering_model(cache))

    @delete(
        "/{model_id:str}",
        sync_to_thread=True,
        summary="Remove a model",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 404, 409, 507),
    )
    def remove(self, model_id: FromPath[str], cache: CacheDependency) -> None:
        """Delete a model from this machine; the active one is kept, and so is the base model."""
        remove_model(cache, model_id)


def _describe(model: CachedModel, active: CachedModel | None) -> Model:
    return Model(
        id=model.id,
        name=model.name,
        version=model.version,
        aliases=model.aliases,
        active=active is not None and active.id == model.id,
        created=model.created,
        fetched=model.fetched,
        size=model.size,
        metrics=model.metrics,
        tags=model.tags,
    )

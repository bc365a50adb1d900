"""``/api/v1/models``: the models on this machine and in the registry."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Controller, delete, get, post, put
from litestar.openapi.spec import SecurityRequirement
from litestar.params import FromPath, JSONBody
from litestar.types import Guard

from opinionlens_server.api.openapi import problems
from opinionlens_server.http.requests import AppRequest
from opinionlens_server.models.fetching import FetchRequest
from opinionlens_server.security.guards import require_admin
from pipelines.base_model.opening import FOLDERS
from pipelines.cache.entries import CachedModel
from pipelines.errors import InputError, ModelNotFoundError
from pipelines.registry.versions import RegisteredModel
from pipelines.workflows.answering import answering_model, local_model, remove_model

ADMIN: Final[list[Guard]] = [require_admin]
"""Guards of routes that change something or use the registry's credentials."""

TOKEN: Final[list[SecurityRequirement]] = [{"adminToken": []}]
"""The same for the OpenAPI document."""

DENIED: Final = (400, 401, 403, 429, 500)
"""The error statuses that all of them share."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the cache of this machine."""

    id: str
    name: str
    version: int
    aliases: list[str]
    active: bool
    """Whether it is the active model."""
    created: datetime
    """When the version was registered."""
    fetched: datetime
    """When it was downloaded to this machine."""
    size: int
    """Bytes on disk."""
    metrics: dict[str, float]
    tags: dict[str, str]


class ActivateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model to activate."""

    id: Annotated[str, msgspec.Meta(examples=["sentiment-v1"])]


class ModelsController(Controller):
    """List, fetch, activate and remove models."""

    path = "/models"
    tags = ("models",)

    @get(
        "/",
        sync_to_thread=True,
        summary="The models on this machine",
        responses=problems(500),
    )
    def list_models(self, request: AppRequest) -> list[Model]:
        """All usable models of the cache, and the base model that is the active one."""
        cache = request.services.cache
        active, models = answering_model(cache), cache.list()
        if active is not None and active.id in FOLDERS:
            models = [active, *models]
        return [_describe(model, active) for model in models]

    @post(
        "/",
        summary="Fetch a model from the registry",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 404, 409, 413, 422, 502, 503, 507),
    )
    async def fetch(self, data: JSONBody[FetchRequest], request: AppRequest) -> Model:
        """Download, check and compile a version, and activate it if `set_default` is true."""
        if data.model_version is not None and data.alias is not None:
            raise InputError("Name a model_version or an alias, not both.")
        fetched = await request.services.fetches.run(data)
        return _describe(fetched, await asyncio.to_thread(request.services.cache.active))

    @get(
        "/registry",
        summary="The models of the registry",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 502, 503),
    )
    async def list_registry(self, request: AppRequest) -> list[RegisteredModel]:
        """Names, versions, aliases and metrics of the registered models."""
        return await request.services.registry.models()

    @get(
        "/active",
        sync_to_thread=True,
        summary="The active model",
        responses=problems(404, 500),
    )
    def get_active(self, request: AppRequest) -> Model:
        """The active model, or the base model if none was ever activated."""
        cache = request.services.cache
        active = answering_model(cache)
        if active is None:
            raise ModelNotFoundError(cache.active_problem() or "No model is active.")
        return _describe(active, active)

    @put(
        "/active",
        summary="Activate a model",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 404, 413, 422, 507),
    )
    async def activate(self, data: JSONBody[ActivateRequest], request: AppRequest) -> Model:
        """Check the files of a model and activate it in all workers."""
        activated = await request.services.active_model.activate(data.id)
        return _describe(activated, activated)

    @get(
        "/{model_id:str}",
        sync_to_thread=True,
        summary="One model",
        responses=problems(400, 404, 500),
    )
    def get_model(self, model_id: FromPath[str], request: AppRequest) -> Model:
        """One model of the cache, or a base model."""
        cache = request.services.cache
        model = local_model(cache, model_id)
        return _describe(model, answering_model(cache))

    @delete(
        "/{model_id:str}",
        sync_to_thread=True,
        summary="Remove a model",
        guards=ADMIN,
        security=TOKEN,
        responses=problems(*DENIED, 404, 409, 507),
    )
    def remove(self, model_id: FromPath[str], request: AppRequest) -> None:
        """Delete a model from this machine; the active model and base models are kept."""
        remove_model(request.services.cache, model_id)


def _describe(model: CachedModel, active: CachedModel | None) -> Model:
    fields = {name: getattr(model, name) for name in Model.__struct_fields__ if name != "active"}
    return Model(**fields, active=active is not None and active.id == model.id)

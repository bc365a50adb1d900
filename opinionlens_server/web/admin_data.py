"""The data of the admin page: cached models, models of the registry, and the service."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
from litestar.exceptions import HTTPException

from opinionlens_server.http.problems import to_problem
from opinionlens_server.models.following import FollowStatus
from opinionlens_server.observability.activity import ServiceFacts
from opinionlens_server.observability.drift import DriftStatus
from opinionlens_server.security.public_messages import public_message
from opinionlens_server.services import Services
from pipelines.base_model.opening import FOLDERS, check_base, describe_base
from pipelines.cache.entries import CachedModel
from pipelines.errors import CorruptModelError, OpinionLensError
from pipelines.labels import BINARY, Classes
from pipelines.registry.versions import RegisteredModel
from pipelines.workflows.answering import answering_id, id_before
from pipelines.workflows.compare import Comparison


class CachedModels(msgspec.Struct, frozen=True):
    """The models on this machine."""

    models: list[CachedModel]
    bases: list[CachedModel]
    """The base models."""
    active: str | None
    """ID of the active model."""
    before: str | None
    """ID of the model that was active before the active one, to go back to."""
    damaged: dict[str, str]
    """IDs of entries that cannot be used, with the reason."""

    @property
    def all(self) -> list[CachedModel]:
        """The models of the cache, newest version first, and the base models."""
        newest = sorted(self.models, key=lambda model: (model.name, -model.version))
        return [*newest, *self.bases]


class ServiceStatus(msgspec.Struct, frozen=True):
    """The service and its model."""

    facts: ServiceFacts
    answering: str | None
    """ID of the loaded model."""
    problem: str | None
    """Why the loaded model is not the active one."""
    following: FollowStatus | None
    since: datetime | None
    """When the loaded model was activated; None: it is `base`, by default."""
    drift: DriftStatus


class Comparing(msgspec.Struct, frozen=True):
    """The comparison of two models: what there is to choose from, and what came of it."""

    models: list[str]
    active: str | None
    slices: list[str]
    """Names of the slices of this project's test data."""
    result: Comparison | None = None
    data: list[str] = []
    """What the texts of the result are, and what their labels mean."""
    classes: Classes = BINARY
    """Those of the models of the result."""
    problem: str | None = None


class WaitingCorrections(msgspec.Struct, frozen=True):
    """The corrections that nobody has looked at, or why they are not known."""

    enabled: bool
    count: int = 0
    problem: str | None = None


class RegistryModels(msgspec.Struct, frozen=True):
    """The models of the registry, or why they are not known."""

    models: list[RegisteredModel] | None = None
    """None: the registry was not asked, or did not answer."""
    chosen: RegisteredModel | None = None
    """The one whose versions are listed."""
    problem: str | None = None


async def cached_models(services: Services) -> CachedModels:
    """The models on this machine."""

    def read() -> CachedModels:
        cache = services.cache
        damaged = {key: public_message(why) for key, why in cache.damaged().items()}
        for name in FOLDERS:
            try:
                check_base(name)
            except CorruptModelError as error:
                damaged[name] = public_message(error)
        return CachedModels(
            models=cache.list(),
            bases=[describe_base(name) for name in FOLDERS],
            active=answering_id(cache),
            before=id_before(cache),
            damaged=damaged,
        )

    return await asyncio.to_thread(read)


async def service_status(services: Services) -> ServiceStatus:
    """The service and its model."""

    def read() -> ServiceStatus:
        loaded = services.active_model.loaded
        return ServiceStatus(
            facts=services.activity.facts(),
            answering=services.active_model.loaded_id,
            problem=services.active_model.problem,
            following=services.follower.status() if services.follower else None,
            since=datetime.fromtimestamp(loaded.activated, UTC)
            if loaded and loaded.activated
            else None,
            drift=services.drift.status(),
        )

    return await asyncio.to_thread(read)


async def waiting_corrections(services: Services) -> WaitingCorrections:
    """How many texts users have corrected."""
    enabled = services.corrections.enabled
    try:
        return WaitingCorrections(enabled, await services.corrections.count())
    except (OpinionLensError, HTTPException) as error:
        return WaitingCorrections(enabled, problem=to_problem(error).detail)


async def comparing(services: Services) -> Comparing:
    """What there is to compare."""

    def read() -> Comparing:
        models = [model.id for model in services.cache.list()]
        slices = sorted(path.stem for path in services.settings.paths.slices.glob("*.parquet"))
        return Comparing([*models, *FOLDERS], answering_id(services.cache), slices)

    return await asyncio.to_thread(read)


async def registry_models(
    services: Services, chosen: str | None = None, ask: bool = True
) -> RegistryModels:
    """The models of the registry.

    Parameters
    ----------
    services : Services
    chosen : str, optional
        Model whose versions are to be listed; by default the first one.
    ask : bool
        Whether to wait for the registry if there is no fresh listing.
    """
    models = services.registry.known
    if models is None:
        if not ask:
            return RegistryModels()
        try:
            models = await services.registry.models()
        except OpinionLensError as error:
            return RegistryModels(problem=public_message(error))
    found = [model for model in models if model.name == chosen] or models
    return RegistryModels(models, found[0] if found else None)

"""What the admin page shows: the models here, those of the registry, and the service."""

from __future__ import annotations

import asyncio

import msgspec

from opinionlens_server.active_model import ActiveModel
from opinionlens_server.activity import Activity, ServiceFacts
from opinionlens_server.fetches import Fetch, Fetches
from opinionlens_server.following import Follower, FollowStatus
from opinionlens_server.registry import RegistryListing
from pipelines.errors import OpinionLensError
from pipelines.inference.base import answering_model, base_model
from pipelines.registry.entries import CachedModel
from pipelines.registry.versions import RegisteredModel


class CacheView(msgspec.Struct, frozen=True):
    """The models on this machine."""

    models: list[CachedModel]
    base: CachedModel
    """The one that comes with OpinionLens."""
    active: str | None
    """ID of the one that should answer."""
    damaged: dict[str, str]
    """IDs of entries that cannot be used, with the reason."""


class ServiceView(msgspec.Struct, frozen=True):
    """The service at a glance."""

    facts: ServiceFacts
    answering: str | None
    problem: str | None
    """Why the active model is not the one that answers."""
    following: FollowStatus | None


class RegistryView(msgspec.Struct, frozen=True):
    """What the registry offers, or why that is not known."""

    models: list[RegisteredModel] | None = None
    """None: it was not asked, or did not answer."""
    chosen: RegisteredModel | None = None
    """The one whose versions are listed."""
    problem: str | None = None


class Panel:
    """Collects what the admin page shows, without holding up the event loop.

    Parameters
    ----------
    active_model, fetches, listing, activity, follower
        Where it comes from; without follow mode there is no follower.
    """

    def __init__(
        self,
        active_model: ActiveModel,
        fetches: Fetches,
        listing: RegistryListing,
        activity: Activity,
        follower: Follower | None,
    ) -> None:
        self._active_model = active_model
        self._fetches = fetches
        self._listing = listing
        self._activity = activity
        self._follower = follower

    async def cache(self) -> CacheView:
        """The models on this machine."""
        return await asyncio.to_thread(self._cache)

    async def service(self) -> ServiceView:
        """The service at a glance."""
        return await asyncio.to_thread(self._service)

    async def fetches(self) -> list[Fetch]:
        """The last few fetches."""
        return await asyncio.to_thread(self._fetches.recent)

    async def registry(self, chosen: str | None = None, ask: bool = True) -> RegistryView:
        """What the registry offers.

        Parameters
        ----------
        chosen : str, optional
            Model whose versions are to be listed; by default the first one.
        ask : bool
            Whether to wait for the registry if it was not asked a moment ago.
        """
        models = self._listing.known
        if models is None:
            if not ask:
                return RegistryView()
            try:
                models = await self._listing.models()
            except OpinionLensError as error:
                return RegistryView(problem=str(error))
        found = [model for model in models if model.name == chosen] or models
        return RegistryView(models, found[0] if found else None)

    def _cache(self) -> CacheView:
        cache = self._active_model.cache
        active = answering_model(cache)
        return CacheView(cache.list(), base_model(), active.id if active else None, cache.damaged())

    def _service(self) -> ServiceView:
        loaded = self._active_model.loaded
        return ServiceView(
            facts=self._activity.facts(),
            answering=loaded.info.id if loaded else None,
            problem=self._active_model.problem,
            following=self._follower.status() if self._follower else None,
        )

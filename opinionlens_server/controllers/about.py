"""``/api/v1``: what there is, and what this service is."""

from __future__ import annotations

from importlib.metadata import version

import msgspec
from litestar import Controller, Request, get
from litestar.datastructures import State

from opinionlens_server.api_reference import Route, list_routes
from opinionlens_server.dependencies import ActiveModelDependency, SettingsDependency


class Limits(msgspec.Struct, frozen=True):
    """How much one request may hold."""

    max_text_length: int
    """Characters of one text."""
    max_batch_size: int
    """Texts of one batch."""
    max_body_size: int
    """Bytes of one request body."""


class About(msgspec.Struct, frozen=True):
    """The service in a few facts."""

    name: str
    version: str
    description: str
    model: str | None
    """The model that answers."""
    labels: list[str]
    limits: Limits


class AboutController(Controller):
    """The way in for programs."""

    path = "/"
    tags = ("about",)

    @get("/", summary="The routes of the API")
    async def index(
        self,
        request: Request[object, object, State],
        active_model: ActiveModelDependency,
        settings: SettingsDependency,
    ) -> list[Route]:
        """Every route with a curl line that works as it stands."""
        loaded = active_model.loaded
        return list_routes(
            str(request.base_url).rstrip("/"),
            loaded.info if loaded else None,
            needs_key=bool(settings.serving.api_keys),
        )

    @get("/about", summary="What this service is")
    async def about(
        self,
        active_model: ActiveModelDependency,
        settings: SettingsDependency,
    ) -> About:
        """Version, model and limits."""
        serving = settings.serving
        return About(
            name="OpinionLens",
            version=version("opinionlens"),
            description="Says whether a text is positive or negative, and how sure it is.",
            model=active_model.loaded.info.id if active_model.loaded else None,
            labels=["NEGATIVE", "POSITIVE"],
            limits=Limits(serving.max_text_length, serving.max_batch_size, serving.max_body_size),
        )

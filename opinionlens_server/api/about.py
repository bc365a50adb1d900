"""``/api/v1``: the routes, and facts about this service."""

from __future__ import annotations

from importlib.metadata import version

import msgspec
from litestar import Controller, get

from opinionlens_server.api.openapi import DESCRIPTION
from opinionlens_server.api.route_list import Route, list_routes
from opinionlens_server.http.requests import AppRequest
from pipelines.labels import BINARY


class Limits(msgspec.Struct, frozen=True):
    """The limits of one request."""

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
    """The ID of the loaded model."""
    labels: list[str]
    """What the loaded model answers, in the order of its classes."""
    limits: Limits


class AboutController(Controller):
    """The entry point for programs."""

    path = "/"
    tags = ("about",)

    @get("/", summary="The routes of the API")
    async def index(self, request: AppRequest) -> list[Route]:
        """Every route with a curl command that can be copied."""
        return list_routes(request)

    @get("/about", summary="Facts about this service")
    async def about(self, request: AppRequest) -> About:
        """Version, model and limits."""
        serving = request.services.settings.serving
        loaded = request.services.active_model.loaded
        return About(
            name="OpinionLens",
            version=version("opinionlens"),
            description=DESCRIPTION,
            model=request.services.active_model.loaded_id,
            labels=list(loaded.scorer.classes.names if loaded else BINARY.names),
            limits=Limits(serving.max_text_length, serving.max_batch_size, serving.max_body_size),
        )

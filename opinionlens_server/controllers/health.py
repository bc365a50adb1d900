"""``/health``: is the process alive, and can it answer."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from litestar import Controller, Response, get
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from opinionlens_server.dependencies import ActiveModelDependency, FollowerDependency
from opinionlens_server.following import FollowStatus


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a model answers, which one, and what is wrong."""

    status: Literal["ready", "unavailable"]
    model: str | None
    problem: str | None
    """Why the model that should be active does not answer."""
    following: FollowStatus | None = None
    """How following an alias of the registry goes, if it is followed."""


class HealthController(Controller):
    """For supervisors and load balancers."""

    path = "/health"
    tags = ("health",)

    @get("/", summary="The process lives")
    async def health(self) -> Health:
        """Answer as long as the process can."""
        return Health()

    @get("/ready", summary="A model answers")
    async def ready(
        self, active_model: ActiveModelDependency, follower: FollowerDependency
    ) -> Response[Readiness]:
        """Answer 503 as long as there is no model."""
        loaded = active_model.loaded
        return Response(
            Readiness(
                status="ready" if loaded else "unavailable",
                model=loaded.info.id if loaded else None,
                problem=active_model.problem,
                following=await asyncio.to_thread(follower.status) if follower else None,
            ),
            status_code=HTTP_200_OK if loaded else HTTP_503_SERVICE_UNAVAILABLE,
        )

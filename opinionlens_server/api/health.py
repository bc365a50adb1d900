"""``/health``: liveness and readiness."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from litestar import Controller, Response, get
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from opinionlens_server.http.requests import AppRequest
from opinionlens_server.models.following import FollowStatus

Status = Literal["ready", "behind", "unavailable"]


class Health(msgspec.Struct, frozen=True):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a model is loaded, which one, and what is wrong."""

    status: Status
    """`behind`: another model was activated, and this worker cannot load it yet."""
    model: str | None
    problem: str | None
    """Why the loaded model is not the active one."""
    following: FollowStatus | None = None
    """State of following an alias of the registry, if one is followed."""


class HealthController(Controller):
    """For supervisors and load balancers."""

    path = "/health"
    tags = ("health",)

    @get("/", summary="Liveness")
    async def health(self) -> Health:
        """200 as long as the process runs."""
        return Health()

    @get("/ready", summary="Readiness")
    async def ready(self, request: AppRequest) -> Response[Readiness]:
        """503 as long as no model is loaded, or another one than the active one."""
        active_model, follower = request.services.active_model, request.services.follower
        status: Status = "behind" if active_model.behind else "ready"
        if active_model.loaded is None:
            status = "unavailable"
        return Response(
            Readiness(
                status=status,
                model=active_model.loaded_id,
                problem=active_model.problem,
                following=await asyncio.to_thread(follower.status) if follower else None,
            ),
            status_code=HTTP_200_OK if status == "ready" else HTTP_503_SERVICE_UNAVAILABLE,
        )

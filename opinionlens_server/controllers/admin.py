"""``/admin``: the page on which models are looked at, fetched, activated and removed.

Every form is answered twice: htmx gets the part of the page that changed, a browser without
JavaScript a redirect to the whole page, which shows what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.enums import MediaType
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect, Template

from opinionlens_server.dependencies import (
    ActiveModelDependency,
    CacheDependency,
    FetchesDependency,
    PanelDependency,
    SessionsDependency,
)
from opinionlens_server.fetches import FetchRequest
from opinionlens_server.guards import (
    find_session,
    is_https,
    require_admin_session,
    require_form_token,
)
from opinionlens_server.panel import Panel
from opinionlens_server.problems import to_problem
from opinionlens_server.requests import TextRequest
from opinionlens_server.sessions import NOTICE_COOKIE, Notice, Sessions
from pipelines.errors import InputError, OpinionLensError
from pipelines.inference.base import remove_model

Chosen = Annotated[str | None, QueryParameter(name="model_name", required=False)]


class AdminController(Controller):
    """The admin page, whole or in part."""

    path = "/admin"
    include_in_schema = False
    guards = (require_admin_session,)

    @get("/", media_type=MediaType.HTML)
    async def show(
        self,
        request: TextRequest,
        panel: PanelDependency,
        sessions: SessionsDependency,
        chosen: Chosen = None,
        registry: FromQuery[str | None] = None,
    ) -> Template:
        """The whole page; the registry is asked only where the browser cannot do it afterwards."""
        cache, service, fetches, offered = await asyncio.gather(
            panel.cache(),
            panel.service(),
            panel.fetches(),
            panel.registry(chosen, ask=bool(chosen or registry)),
        )
        page = await _template(
            request,
            sessions,
            "admin.html",
            cache=cache,
            service=service,
            fetches=fetches,
            registry=offered,
            notice=sessions.read_notice(request.cookies.get(NOTICE_COOKIE)),
        )
        if NOTICE_COOKIE in request.cookies:
            page.cookies.append(sessions.notice_cookie(None, is_https(request)))
        return page

    @get("/service", media_type=MediaType.HTML)
    async def show_service(
        self, request: TextRequest, panel: PanelDependency, sessions: SessionsDependency
    ) -> Template:
        """The facts about the service."""
        return await _template(
            request, sessions, "partials/admin_service.html", service=await panel.service()
        )

    @get("/models", media_type=MediaType.HTML)
    async def show_models(
        self, request: TextRequest, panel: PanelDependency, sessions: SessionsDependency
    ) -> Template:
        """The models on this machine."""
        return await _models(request, panel, sessions, None)

    @get("/registry", media_type=MediaType.HTML)
    async def show_registry(
        self, request: TextRequest, panel: PanelDependency, sessions: SessionsDependency
    ) -> Template:
        """What the registry offers, and the form to fetch it."""
        registry, fetches = await asyncio.gather(panel.registry(), panel.fetches())
        return await _template(
            request, sessions, "partials/admin_registry.html", registry=registry, fetches=fetches
        )

    @get("/versions", media_type=MediaType.HTML)
    async def show_versions(
        self,
        request: TextRequest,
        panel: PanelDependency,
        sessions: SessionsDependency,
        chosen: Chosen = None,
    ) -> Template:
        """The versions of one model, to choose from."""
        return await _template(
            request, sessions, "partials/admin_versions.html", registry=await panel.registry(chosen)
        )

    @get("/fetches", media_type=MediaType.HTML)
    async def show_fetches(
        self, request: TextRequest, panel: PanelDependency, sessions: SessionsDependency
    ) -> Template:
        """How far the downloads are."""
        return await _fetches(request, panel, sessions)

    @post("/fetches", media_type=MediaType.HTML, status_code=200, guards=[require_form_token])
    async def fetch(
        self,
        request: TextRequest,
        panel: PanelDependency,
        sessions: SessionsDependency,
        fetches: FetchesDependency,
    ) -> Response[Any]:
        """Begin to fetch the version that the form names."""
        notice = None
        try:
            wanted = await _read_fetch_form(request)
            if not await fetches.start(wanted):
                notice = Notice("This version is being fetched already.")
        except OpinionLensError as error:
            notice = Notice(str(error), failed=True)
        if request.headers.get("hx-request"):
            return await _fetches(request, panel, sessions, notice)
        return _back(request, sessions, notice, "#fetches")

    @post(
        "/models/{model_id:str}/activate",
        media_type=MediaType.HTML,
        status_code=200,
        guards=[require_form_token],
    )
    async def activate(
        self,
        request: TextRequest,
        model_id: FromPath[str],
        panel: PanelDependency,
        sessions: SessionsDependency,
        active_model: ActiveModelDependency,
    ) -> Response[Any]:
        """Let another model answer."""
        notice = await _notice(active_model.activate(model_id), f"{model_id} answers now.")
        return await _changed(request, panel, sessions, notice)

    @post(
        "/models/{model_id:str}/remove",
        media_type=MediaType.HTML,
        status_code=200,
        guards=[require_form_token],
    )
    async def remove(
        self,
        request: TextRequest,
        model_id: FromPath[str],
        panel: PanelDependency,
        sessions: SessionsDependency,
        cache: CacheDependency,
    ) -> Response[Any]:
        """Delete a model from this machine."""
        removing = asyncio.to_thread(remove_model, cache, model_id)
        notice = await _notice(removing, f"{model_id} is removed.")
        return await _changed(request, panel, sessions, notice)


async def _read_fetch_form(request: TextRequest) -> FetchRequest:
    form = await request.form()
    name, version = form.get("model_name", ""), form.get("model_version", "")
    if not name:
        raise InputError("Choose a model first.")
    if version and not (version.isascii() and version.isdecimal() and 0 < int(version) < 2**31):
        raise InputError(f"{version!r} is not the number of a version.")
    return FetchRequest(
        model_name=name,
        model_version=int(version) if version else None,
        set_default="set_default" in form,
    )


async def _notice(change: Awaitable[object], done: str) -> Notice:
    """What to say about a change, whether it can be made or not."""
    try:
        await change
    except OpinionLensError as error:
        return Notice(to_problem(error).detail, failed=True)
    return Notice(done)


async def _changed(
    request: TextRequest, panel: Panel, sessions: Sessions, notice: Notice
) -> Response[Any]:
    if request.headers.get("hx-request"):
        return await _models(request, panel, sessions, notice)
    return _back(request, sessions, notice, "#models")


async def _models(
    request: TextRequest, panel: Panel, sessions: Sessions, notice: Notice | None
) -> Template:
    page = await _template(
        request, sessions, "partials/admin_models.html", cache=await panel.cache(), notice=notice
    )
    if notice is not None:
        page.headers["HX-Trigger"] = "model-changed"
    return page


async def _fetches(
    request: TextRequest, panel: Panel, sessions: Sessions, notice: Notice | None = None
) -> Template:
    fetches = await panel.fetches()
    page = await _template(
        request, sessions, "partials/admin_fetches.html", fetches=fetches, notice=notice
    )
    if not any(fetch.state == "running" for fetch in fetches):
        page.headers["HX-Trigger"] = "fetches-ended"
    return page


def _back(
    request: TextRequest, sessions: Sessions, notice: Notice | None, fragment: str
) -> Redirect:
    answer = Redirect(f"/admin{fragment}", status_code=303)
    if notice is not None:
        answer.cookies.append(sessions.notice_cookie(notice, is_https(request)))
    return answer


async def _template(
    request: TextRequest, sessions: Sessions, name: str, **context: object
) -> Template:
    session = await find_session(request)
    return Template(
        name,
        context={"csrf_token": sessions.csrf_token(session) if session else "", **context},
        media_type=MediaType.HTML,
        headers={"Cache-Control": "no-store", "Vary": "HX-Request"},
    )

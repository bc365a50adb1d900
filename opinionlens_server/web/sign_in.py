"""``/sign-in``, ``/sign-out`` and the one-time link that `olens serve` prints."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import Controller, Response, get, post
from litestar.enums import MediaType
from litestar.exceptions import TooManyRequestsException
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from opinionlens_server.http.requests import AppRequest
from opinionlens_server.security.guards import find_session
from opinionlens_server.security.sessions import Role
from opinionlens_server.web.templating import render
from pipelines.workflows.label import LONGEST_NAME, PROJECT

PAGES: Final = frozenset({"/", "/file", "/admin", "/label"})
"""Targets of the redirect after signing in: never another site."""


class SignInController(Controller):
    """Opens and ends sessions."""

    path = "/"
    include_in_schema = False

    @get("/sign-in", media_type=MediaType.HTML)
    async def show(
        self,
        request: AppRequest,
        next: FromQuery[str] = "/admin",  # noqa: A002
        expired: FromQuery[str | None] = None,
    ) -> Response[Any]:
        """The form; a client that has signed in is redirected."""
        target = _page(next)
        session = await find_session(request)
        if session is not None and (session.role == "admin" or target != "/admin"):
            return Redirect(target, status_code=303)
        problem = "Your session has ended. Sign in again." if expired else None
        return _form(request, target, problem)

    @post("/sign-in", media_type=MediaType.HTML, status_code=200)
    async def sign_in(self, request: AppRequest) -> Response[Any]:
        """Compare the secret, and open a session if it is right."""
        form = await request.form()
        target, secret = _page(form.get("next", "")), form.get("secret", "").strip()
        try:
            role = await _role_of(secret.encode("utf-8", "replace"), request)
        except TooManyRequestsException as error:
            return _form(request, target, error.detail, error.status_code, error.headers)
        if role is None:
            return _form(request, target, "That is not the secret.", 401)
        await request.services.credentials.forget_failures(request.address)
        return _enter(request, role, target if role == "admin" or target != "/admin" else "/")

    @post("/sign-out", media_type=MediaType.HTML)
    async def sign_out(self, request: AppRequest) -> Redirect:
        """End the session, in all workers."""
        sessions = request.services.sessions
        session = await find_session(request)
        if session is not None:
            await asyncio.to_thread(sessions.end, session)
        return Redirect("/", status_code=303, cookies=[sessions.cookie(None, request.is_https)])

    @get("/admin/link/{token:str}", media_type=MediaType.HTML)
    async def use_link(
        self,
        request: AppRequest,
        token: FromPath[str],
        next: FromQuery[str] = "/admin",  # noqa: A002
        name: FromQuery[str] = "",
    ) -> Response[Any]:
        """Open an admin session, for somebody of that name, for the first client with the link."""
        if await asyncio.to_thread(request.services.shared.use_link, token):
            return _enter(request, "admin", _page(next), name[:LONGEST_NAME])
        problem = (
            "This link was used already, or it is too old. Sign in with the token that "
            "`olens serve` printed, or start it again for a new link."
        )
        return _form(request, "/admin", problem, 403)


async def _role_of(secret: bytes, request: AppRequest) -> Role | None:
    credentials = request.services.credentials
    if credentials.is_key(secret):
        return "client"
    return "admin" if await credentials.is_admin(secret, request.address) else None


def _enter(request: AppRequest, role: Role, target: str, name: str = "") -> Redirect:
    sessions = request.services.sessions
    return Redirect(
        target,
        status_code=303,
        headers={"Cache-Control": "no-store"},
        cookies=[sessions.cookie(sessions.open(role, name), request.is_https)],
    )


def _form(
    request: AppRequest,
    target: str,
    problem: str | None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Template:
    credentials = request.services.credentials
    return render(
        "sign_in.html",
        status,
        headers,
        next=target,
        problem=problem,
        has_admin=credentials.has_admin,
        needs_key=credentials.needs_key,
    )


def _page(target: str) -> str:
    project = target.removeprefix("/label/")
    is_known = target in PAGES or (project != target and PROJECT.fullmatch(project))
    return target if is_known else "/admin"

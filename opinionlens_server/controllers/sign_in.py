"""``/sign-in``, ``/sign-out`` and the one-time link that `olens serve` prints."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import Controller, Response, get, post
from litestar.enums import MediaType
from litestar.exceptions import TooManyRequestsException
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from opinionlens_server.access import Access, address
from opinionlens_server.dependencies import AccessDependency, SessionsDependency, SharedDependency
from opinionlens_server.guards import find_session, is_https, require_form_token
from opinionlens_server.requests import TextRequest
from opinionlens_server.sessions import Role, Session, Sessions

PAGES: Final = frozenset({"/", "/admin"})
"""Where one may be sent after signing in: never to another site."""


class SignInController(Controller):
    """Opens and ends sessions."""

    path = "/"
    include_in_schema = False

    @get("/sign-in", media_type=MediaType.HTML)
    async def show(
        self,
        request: TextRequest,
        access: AccessDependency,
        sessions: SessionsDependency,
        next: FromQuery[str] = "/admin",  # noqa: A002
        expired: FromQuery[str | None] = None,
    ) -> Response[Any]:
        """The form; whoever has signed in goes on."""
        session = await find_session(request)
        if session is not None and _may_see(session, next):
            return Redirect(_page(next), status_code=303)
        problem = "Your session has ended. Sign in again." if expired else None
        return _form(request, access, sessions, session, _page(next), problem)

    @post("/sign-in", media_type=MediaType.HTML, status_code=200, guards=[require_form_token])
    async def sign_in(
        self, request: TextRequest, access: AccessDependency, sessions: SessionsDependency
    ) -> Response[Any]:
        """Compare the secret, and open a session if it is right."""
        form = await request.form()
        target, secret = _page(form.get("next", "")), form.get("secret", "").strip()
        session = await find_session(request)
        try:
            role = await _role_of(secret.encode("utf-8", "replace"), access, address(request))
        except TooManyRequestsException as error:
            answer = _form(request, access, sessions, session, target, error.detail)
            answer.status_code = error.status_code
            answer.headers.update(error.headers or {})
            return answer
        if role is None:
            answer = _form(request, access, sessions, session, target, "That is not the secret.")
            answer.status_code = 401
            return answer
        await access.welcome(address(request))
        return _enter(request, sessions, role, target if role == "admin" else "/")

    @post("/sign-out", media_type=MediaType.HTML, guards=[require_form_token])
    async def sign_out(self, request: TextRequest, sessions: SessionsDependency) -> Redirect:
        """End the session, in all workers."""
        session = await find_session(request)
        if session is not None:
            await asyncio.to_thread(sessions.end, session)
        answer = Redirect("/", status_code=303)
        answer.cookies.append(sessions.no_cookie(is_https(request)))
        return answer

    @get("/admin/link/{token:str}", media_type=MediaType.HTML)
    async def use_link(
        self,
        request: TextRequest,
        token: FromPath[str],
        shared: SharedDependency,
        access: AccessDependency,
        sessions: SessionsDependency,
    ) -> Response[Any]:
        """Open an admin's session for the first who comes with the link."""
        if await asyncio.to_thread(shared.use_link, token):
            return _enter(request, sessions, "admin", "/admin")
        answer = _form(
            request,
            access,
            sessions,
            await find_session(request),
            "/admin",
            "This link was used already, or it is too old. Sign in with the token that "
            "`olens serve` printed, or start it again for a new link.",
        )
        answer.status_code = 403
        return answer


async def _role_of(secret: bytes, access: Access, client: str) -> Role | None:
    if access.is_key(secret):
        return "client"
    return "admin" if await access.is_admin(secret, client) else None


def _enter(request: TextRequest, sessions: Sessions, role: Role, target: str) -> Redirect:
    answer = Redirect(target, status_code=303, headers={"Cache-Control": "no-store"})
    answer.cookies.append(sessions.cookie(sessions.open(role), is_https(request)))
    return answer


def _form(
    request: TextRequest,
    access: Access,
    sessions: Sessions,
    session: Session | None,
    target: str,
    problem: str | None,
) -> Template:
    """The form belongs to a visitor's session, so that it cannot be sent from elsewhere."""
    session = session or sessions.open("visitor")
    page = Template(
        "sign_in.html",
        context={
            "csrf_token": sessions.csrf_token(session),
            "next": target,
            "problem": problem,
            "has_admin": access.has_admin,
            "needs_key": access.needs_key,
        },
        media_type=MediaType.HTML,
        headers={"Cache-Control": "no-store"},
    )
    page.cookies.append(sessions.cookie(session, is_https(request)))
    return page


def _may_see(session: Session, page: str) -> bool:
    return session.role == "admin" or (session.role == "client" and _page(page) == "/")


def _page(target: str) -> str:
    return target if target in PAGES else "/admin"

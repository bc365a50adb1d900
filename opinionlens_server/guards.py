"""Who may do what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.response import Redirect

from opinionlens_server.access import Access, Connection, address, bearer, presented_key
from opinionlens_server.problems import Problem, wants_page
from opinionlens_server.sessions import (
    CSRF_FIELD,
    CSRF_HEADER,
    SESSION_COOKIE,
    Session,
    Sessions,
)

if TYPE_CHECKING:
    from opinionlens_server.requests import TextRequest


OPEN: Final = "open"
"""Option of handlers that judge nothing and are open to everybody."""


class SignInNeeded(Problem):
    """Who opens a page without the right to is sent to the sign-in form, and then back."""

    def __init__(self, expired: bool) -> None:
        self._expired = expired
        detail = "Your session has ended. Sign in again." if expired else "Sign in first."
        super().__init__(status_code=401, title="Unauthorized", detail=detail)

    def to_response(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """A redirect for browsers; htmx is told to follow it with the whole page."""
        query = {"next": _page_of(request.url.path)} | ({"expired": "1"} if self._expired else {})
        target = f"/sign-in?{urlencode(query)}"
        if request.headers.get("hx-request"):
            return Response(b"", status_code=401, headers={"HX-Redirect": target})
        if wants_page(request):
            return Redirect(target, status_code=303)
        return super().to_response(request)


def _page_of(path: str) -> str:
    """The page that a request belongs to; where to go after signing in."""
    return "/admin" if path.startswith("/admin") else "/"


async def require_admin(connection: Connection, _handler: BaseRouteHandler) -> None:
    """For the API: let through only whoever presents the admin's token or secret.

    Raises
    ------
    PermissionDeniedException
        When this server has no admin, so that nobody may change its models.
    NotAuthorizedException
        When the credential is missing or wrong.
    TooManyRequestsException
        When the client was wrong too often.
    """
    access: Access = connection.app.state.access
    if not access.has_admin:
        raise PermissionDeniedException(
            "This server has no admin token, so its models cannot be managed over HTTP. Set "
            "OLENS_SERVING__ADMIN_TOKEN or OLENS_SERVING__ADMIN_SECRET_HASH and restart it, or use "
            "`olens models` on the machine."
        )
    secret = bearer(connection)
    if secret is None or not await access.is_admin(secret, address(connection)):
        raise NotAuthorizedException(
            "Managing models needs the header `Authorization: Bearer TOKEN` with the admin token "
            "of this server (`olens serve` prints it, or serving.admin_token sets it).",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def require_key(connection: Connection, handler: BaseRouteHandler) -> None:
    """Where the operator set API keys: let through who presents one or has signed in.

    Raises
    ------
    NotAuthorizedException
        When the key is missing or wrong.
    SignInNeeded
        The same for a person at one of the pages.
    """
    if handler.opt.get(OPEN):
        return
    access: Access = connection.app.state.access
    secret = presented_key(connection)
    if secret is not None and access.is_key(secret):
        return
    session = await find_session(connection)
    if session is not None and session.role in {"client", "admin"}:
        return
    if not connection.url.path.startswith("/api/"):
        raise SignInNeeded(_expired(connection))
    if bearer(connection) is not None and access.has_admin:
        # The admin may do what everybody may.
        await require_admin(connection, handler)
        return
    raise NotAuthorizedException(
        "This service answers to holders of an API key. Send it in the header `X-API-Key: KEY` or "
        "`Authorization: Bearer KEY`.",
        headers={"WWW-Authenticate": "Bearer"},
    )


async def require_admin_session(connection: Connection, _handler: BaseRouteHandler) -> None:
    """For the pages: let through only whoever signed in as the admin.

    Raises
    ------
    SignInNeeded
        For everybody else.
    """
    session = await find_session(connection)
    if session is None or session.role != "admin":
        raise SignInNeeded(_expired(connection))


async def require_form_token(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Let changes through only if they come from a form that was made for this session (CSRF).

    Raises
    ------
    PermissionDeniedException
        When the token is missing or belongs to another session.
    """
    sessions: Sessions = connection.app.state.sessions
    session = await find_session(connection)
    token = connection.headers.get(CSRF_HEADER)
    if token is None:
        form = await cast("TextRequest", connection).form()
        token = form.get(CSRF_FIELD)
    if session is None or not sessions.is_csrf_token(session, token):
        raise PermissionDeniedException(
            "This form is too old, or another site made it. Reload the page and try again."
        )


async def find_session(connection: Connection) -> Session | None:
    """The session of a request."""
    cookie = connection.cookies.get(SESSION_COOKIE)
    if cookie is None:
        return None
    sessions: Sessions = connection.app.state.sessions
    return await asyncio.to_thread(sessions.read, cookie)


def is_https(request: Request[Any, Any, Any]) -> bool:
    """Whether the browser came by HTTPS."""
    return request.scope["scheme"] == "https"


def _expired(connection: Connection) -> bool:
    sessions: Sessions = connection.app.state.sessions
    return sessions.has_expired(connection.cookies.get(SESSION_COOKIE))

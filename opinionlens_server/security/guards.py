"""Access rules of routes: API key, admin token, admin session."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.response import Redirect
from litestar_htmx import ClientRedirect

from opinionlens_server.http.problems import Problem, wants_page
from opinionlens_server.http.requests import FORM_BYTES, LARGE, AppRequest
from opinionlens_server.security.rate_limit import EXPLAINED, TEXTS, UNIT, count_more, limit_rate
from opinionlens_server.security.sessions import SESSION_COOKIE, Session

ESCAPED: Final = 12
"""Most bytes of a character in JSON: two halves of a surrogate pair, each as ``\\uXXXX``."""

Connection = ASGIConnection[Any, Any, Any, Any]


class SignInNeeded(Problem):
    """Redirect page requests without a session to the sign-in form."""

    def __init__(self, expired: bool) -> None:
        self._expired = expired
        detail = "Your session has ended. Sign in again." if expired else "Sign in first."
        super().__init__(status_code=401, title="Unauthorized", detail=detail)

    def to_response(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """A redirect for browsers and htmx, a problem for programs."""
        top = f"/{request.scope['path'].split('/')[1]}"
        page = top if top in ("/admin", "/file", "/label") else "/"
        query = {"next": page} | ({"expired": "1"} if self._expired else {})
        target = f"/sign-in?{urlencode(query)}"
        if cast(AppRequest, request).htmx:
            answer = ClientRedirect(target)
            answer.status_code = self.status_code
            return answer
        if wants_page(request):
            return Redirect(target, status_code=303)
        return super().to_response(request)


async def require_key(request: Request[Any, Any, Any]) -> None:
    """Where API keys are set, accept only requests with a key or a session.

    This and :func:`admit` are for the argument ``before_request`` of handlers. For a guard,
    Litestar copies the handler for each request, which takes longer than a prediction.

    Raises
    ------
    NotAuthorizedException
        When the key is missing or wrong.
    TooManyRequestsException
        When the client has sent too many wrong keys.
    SignInNeeded
        When a page is requested without a session.
    """
    request = cast(AppRequest, request)
    credentials = request.services.credentials
    if not credentials.needs_key:
        return
    for name, value in request.scope["headers"]:
        # Litestar's mapping of all headers takes longer to make than a prediction.
        if name == b"x-api-key" and credentials.is_key(value.strip()):
            return
    bearer = _bearer(request)
    key = request.headers.get("x-api-key")
    secret = bearer if key is None else key.strip().encode("latin-1", "replace")
    if secret is not None and credentials.is_key(secret):
        return
    if await find_session(request) is not None:
        return
    if not request.scope["path"].startswith("/api/"):
        raise SignInNeeded(_has_expired_session(request))
    if bearer is not None and credentials.has_admin:
        # The admin may do what everybody may.
        await require_admin(request, request.route_handler)
        return
    if secret is not None:
        await credentials.count_wrong_key(request.address)
    raise NotAuthorizedException(
        "This service needs an API key. Send it in the header `X-API-Key: KEY` or "
        "`Authorization: Bearer KEY`.",
        headers={"WWW-Authenticate": "Bearer"},
    )


async def admit(request: Request[Any, Any, Any], largest: int | None = None) -> None:
    """Check API key and rate limit before a prediction; errors as for both.

    A body that comes in chunks is read first, at most `largest` bytes: its length is not announced.
    """
    await require_key(request)
    ours = cast(AppRequest, request)
    length = ours.announced_length
    limit_rate(ours.services.rate_limiter, ours.address, 1 + length // UNIT)
    if not length and ours.scope["method"] == "POST":
        weight = len(await ours.body(largest)) // UNIT
        count_more(ours.services.rate_limiter, ours.address, weight)


async def admit_text(request: Request[Any, Any, Any]) -> None:
    """As :func:`admit`, for one text: a body that no text can need is not read."""
    ours = cast(AppRequest, request)
    largest = ESCAPED * ours.services.settings.serving.max_text_length + FORM_BYTES
    await admit(request, largest)
    if ours.scope["method"] == "POST":
        await ours.body(largest)


async def admit_batch(request: Request[Any, Any, Any]) -> None:
    """As :func:`admit`, for a list of texts, which is decoded if it is large."""
    ours = cast(AppRequest, request)
    await admit(request)
    async with ours.services.predictor.turn_if(len(await ours.body()) > LARGE):
        await ours.read_texts(ours.services.settings.serving.max_batch_size)


async def admit_correction(request: Request[Any, Any, Any]) -> None:
    """Check who may correct a verdict, and the rate limit; errors as for both."""
    await admit(request)
    if cast(AppRequest, request).services.settings.serving.feedback_access == "admin":
        is_api = request.scope["path"].startswith("/api/")
        await (require_admin if is_api else require_admin_session)(request, request.route_handler)


def count_explanation(request: AppRequest, text: str) -> None:
    """Count an explanation of `text`, which takes longer than a prediction, for the rate limit."""
    count_more(request.services.rate_limiter, request.address, len(text) // EXPLAINED)


def count_texts(request: AppRequest, count: int) -> None:
    """Count so many texts of one request, which may be short, for the rate limit."""
    count_more(request.services.rate_limiter, request.address, count // TEXTS)


async def require_admin(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Accept only API requests with the admin's token or secret.

    Raises
    ------
    PermissionDeniedException
        When this server has no admin.
    NotAuthorizedException
        When the credential is missing or wrong.
    TooManyRequestsException
        When the client has sent too many wrong secrets.
    """
    request = cast(AppRequest, connection)
    credentials = request.services.credentials
    if not credentials.has_admin:
        raise PermissionDeniedException(
            "This is for the admin, and this server has no admin token. Set "
            "OLENS_SERVING__ADMIN_TOKEN or OLENS_SERVING__ADMIN_SECRET_HASH and restart it, or use "
            "`olens` on the machine."
        )
    secret = _bearer(request)
    if secret is None or not await credentials.is_admin(secret, request.address):
        raise NotAuthorizedException(
            "This needs the header `Authorization: Bearer TOKEN` with the admin token of this "
            "server (`olens serve` prints it, or serving.admin_token sets it).",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def require_admin_session(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Accept only page requests of a signed-in admin.

    Raises
    ------
    SignInNeeded
        For everybody else.
    """
    request = cast(AppRequest, connection)
    session = await find_session(request)
    if session is None or session.role != "admin":
        raise SignInNeeded(_has_expired_session(request))


async def require_session(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Accept only page requests of somebody who has signed in, with whatever role.

    Raises
    ------
    SignInNeeded
        For everybody else.
    """
    request = cast(AppRequest, connection)
    if await find_session(request) is None:
        raise SignInNeeded(_has_expired_session(request))


async def find_session(request: AppRequest) -> Session | None:
    """The session of a request."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is None:
        return None
    return await asyncio.to_thread(request.services.sessions.read, cookie)


def _has_expired_session(request: AppRequest) -> bool:
    return request.services.sessions.has_expired(request.cookies.get(SESSION_COOKIE))


def _bearer(request: AppRequest) -> bytes | None:
    """The secret in the header ``Authorization: Bearer SECRET``."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        return None
    # Headers arrive as Latin-1; as bytes, a secret may hold any character.
    return secret.strip().encode("latin-1", "replace")

"""Middleware that gives each request an ID, security headers, metrics and a log line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from random import getrandbits
from time import perf_counter
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from opinionlens_server.observability.logs import REQUEST_ID
from opinionlens_server.observability.metrics import UNMATCHED, Metrics
from opinionlens_server.security.headers import HEADERS

REQUEST_ID_HEADER: Final = b"x-request-id"

# UUIDs, ULIDs and trace IDs. It is written to the logs, so nothing else is accepted.
_SANE: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

logger = logging.getLogger(__name__)


class ObservabilityMiddleware:
    """Observes an ASGI application from outside.

    It wraps the routing, so requests without a route are counted too, and static files and errors
    get the headers.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
        Counts requests by route, never by path.
    access_log : bool
        Whether every request is logged, or only with the level "debug".
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._level = logging.INFO if access_log else logging.DEBUG

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        request_id = _request_id(scope["headers"])
        # Uvicorn gives each request a context of its own.
        REQUEST_ID.set(request_id.decode())
        status = 500  # Uvicorn's answer if the application fails

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *HEADERS,
                    (REQUEST_ID_HEADER, request_id),
                ]
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        finally:
            seconds = perf_counter() - start
            route = scope.get("path_template") or UNMATCHED
            self._metrics.observe_request(scope["method"], route, status, seconds)
            if logger.isEnabledFor(self._level):
                self._log(scope["method"], route, status, seconds)

    def _log(self, method: str, route: str, status: int, seconds: float) -> None:
        """Log the route and not the URL: a query string holds texts."""
        logger.log(
            self._level,
            "%s %s %d",
            method,
            route,
            status,
            extra={"method": method, "route": route, "status": status, "seconds": seconds},
        )


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The client's request ID if it is valid, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID_HEADER and _SANE.fullmatch(value):
            return value
    return b"%016x" % getrandbits(64)

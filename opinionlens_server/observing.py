"""What every request gets: an ID, security headers, a place in the metrics, a log line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from random import getrandbits
from time import perf_counter
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from opinionlens_server.logs import REQUEST_ID
from opinionlens_server.metrics import UNMATCHED, Metrics
from opinionlens_server.security import HEADERS

REQUEST_ID_HEADER: Final = b"x-request-id"

# What other programs make: UUIDs, ULIDs, trace IDs. It goes to the logs, so nothing else passes.
_SANE: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

logger = logging.getLogger(__name__)


class Observed:
    """An ASGI application, observed from outside.

    It stands around the routing, so that requests that no route takes are seen as well, and static
    files and errors get the headers, too.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
        Gets every request by its route, never by its path.
    access_log : bool
        Whether every request is logged, or only with the level "debug".
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._level = logging.INFO if access_log else logging.DEBUG

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        request_id = _request_id(scope["headers"])
        # Uvicorn gives each request a context of its own.
        REQUEST_ID.set(request_id.decode())
        status = 500  # what Uvicorn answers if nothing else does

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
        """The route and not the path: a query string holds texts."""
        logger.log(
            self._level,
            "%s %s %d",
            method,
            route,
            status,
            extra={"method": method, "route": route, "status": status, "seconds": seconds},
        )


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The client's, if it is one, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID_HEADER and _SANE.fullmatch(value):
            return value
    return b"%016x" % getrandbits(64)

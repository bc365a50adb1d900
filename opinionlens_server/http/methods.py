"""Answers to HEAD and OPTIONS, which Litestar leaves to each route."""

from __future__ import annotations

from typing import Final, cast

from litestar import Litestar
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

LINKS: Final = "/admin/link/"
"""GET uses up a one-time link, so HEAD is not answered below this path."""


def answer_all_methods(app: Litestar) -> ASGIApp:
    """The handler of `app`, with HEAD wherever there is GET, and with all methods in ``Allow``.

    In ``Allow``, Litestar lists only the methods of the handler that was registered first.
    """
    handle = app.asgi_handler
    methods = {route.path_format: set(route.methods) for route in app.routes if route.methods}
    for path, known in methods.items():
        if "GET" in known and not path.startswith(LINKS):
            known.add("HEAD")

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")

        async def send_allow(message: Message) -> None:
            known = methods.get(scope.get("path_template") or "")
            if known and message["type"] == "http.response.start":
                others = [header for header in message["headers"] if header[0].lower() != b"allow"]
                message["headers"] = [*others, (b"allow", ", ".join(sorted(known)).encode())]
            await send(message)

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        if method == "HEAD" and not scope["path"].startswith(LINKS):
            as_get = cast(HTTPScope, {**scope, "method": "GET"})
            try:
                await handle(as_get, receive, send_head)
            finally:
                # The metrics count the request by its route.
                scope["path_template"] = as_get.get("path_template", "")
        else:
            await handle(scope, receive, send_allow if method == "OPTIONS" else send)

    return answer

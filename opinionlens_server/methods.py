"""Which methods a path knows, for answers to OPTIONS."""

from __future__ import annotations

from litestar import Litestar
from litestar.types import ASGIApp, Message, Receive, Scope, Send


def complete_allow(app: Litestar) -> ASGIApp:
    """The handler of `app`, with all methods of the path in ``Allow``.

    Litestar's own answer has those of the handler that was registered first.
    """
    known = {route.path_format: sorted(route.methods) for route in app.routes if route.methods}
    handle = app.asgi_handler

    async def completed(scope: Scope, receive: Receive, send: Send) -> None:
        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start" and (
                methods := known.get(scope["path_template"] or "")
            ):
                others = [header for header in message["headers"] if header[0].lower() != b"allow"]
                message["headers"] = [*others, (b"allow", ", ".join(methods).encode())]
            await send(message)

        asks = scope.get("method") == "OPTIONS"
        await handle(scope, receive, complete if asks else send)

    return completed

"""Which methods a path knows, for answers to OPTIONS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from litestar import Litestar
from litestar.types import Message, Scope


def complete_allow(app: Litestar) -> Callable[[Message, Scope], Awaitable[None]]:
    """A hook that puts all methods of the path into ``Allow``.

    Litestar's own answer has those of the handler that was registered first.
    """
    known = {route.path_format: sorted(route.methods) for route in app.routes if route.methods}

    async def complete(message: Message, scope: Scope) -> None:
        if scope.get("method") != "OPTIONS" or message["type"] != "http.response.start":
            return
        if methods := known.get(scope["path_template"] or ""):
            others = [header for header in message["headers"] if header[0].lower() != b"allow"]
            message["headers"] = [*others, (b"allow", ", ".join(methods).encode())]

    return complete

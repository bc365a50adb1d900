"""The answer to a single text, on the shortest way from a struct to the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.response import Response
from litestar.types import Receive, Scope, Send


class JSONAnswer(Response[Any]):
    """A struct as JSON, with the headers of its route and nothing else.

    Litestar's own response can do much more (cookies, background tasks, other media types) and
    takes as long for it as the model for a text. What it can do beyond this one is not there.
    """

    def __init__(self, content: Any, *, status_code: int = 200, **_: object) -> None:
        self.content = content
        self._status = status_code

    def to_asgi_response(  # type: ignore[override]
        self, app: object, request: object, *, headers: Mapping[str, str] | None = None, **_: object
    ) -> _Encoded:
        """The encoded answer."""
        return _Encoded(self._status, headers or {}, msgspec.json.encode(self.content))


class _Encoded:
    """An ASGI application that sends one answer."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._status = status
        self._body = body
        self._headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *[(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        ]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send(
            {"type": "http.response.start", "status": self._status, "headers": self._headers}
        )
        await send({"type": "http.response.body", "body": self._body, "more_body": False})

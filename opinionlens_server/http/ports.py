"""Several applications in one process, each on a port of its own."""

from __future__ import annotations

from collections.abc import Mapping

from litestar.types import ASGIApp, Receive, Scope, Send


def by_port(app: ASGIApp, others: Mapping[int, ASGIApp]) -> ASGIApp:
    """Answer with that of `others` on whose port a request came in, or else with `app`.

    The port is that of the socket, whatever the request says.
    """

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        port = (scope.get("server") or ("", None))[1]
        await others.get(port or 0, app)(scope, receive, send)

    return choose

"""Where requests may come from: names of this service, and its own pages."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.exceptions import ClientException, PermissionDeniedException
from litestar.types import ASGIApp, Receive, Scope, Send

from pipelines.settings import Serving

THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse_foreign(serving: Serving) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware that refuses requests for other hosts and changes asked by other sites' pages.

    A name that an attacker lets point to this machine (DNS rebinding) is no name of ours. For
    changes, the browser's word on who asks decides: ``Sec-Fetch-Site``, else ``Origin``.
    Programs send neither.
    """
    is_ours = _host_check(serving)

    def middleware(app: ASGIApp) -> ASGIApp:
        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                headers = dict(scope["headers"])
                host = headers.get(b"host", b"").decode("latin-1")
                if not is_ours(host):
                    raise ClientException(
                        f"This service is not called {host!r}. If it should be, add the name to "
                        "serving.allowed_hosts."
                    )
                if scope["method"] not in SAFE_METHODS and _is_cross_origin(headers, host):
                    raise PermissionDeniedException(
                        "A page of another site asked for this. Only pages of this service may."
                    )
            await app(scope, receive, send)

        return refuse

    return middleware


def _host_check(serving: Serving) -> Callable[[str], bool]:
    names: Sequence[str] = serving.allowed_hosts
    if not names:
        if not _is_loopback(serving.host):
            return lambda host: True
        names = ()
    exact = frozenset(name.lower() for name in (*names, *THIS_MACHINE) if name[:2] != "*.")
    below = tuple(name[1:].lower() for name in names if name[:2] == "*.")
    if "*" in exact:
        return lambda host: True

    def check(host: str) -> bool:
        name = _name(host)
        return name in exact or name.endswith(below)

    return check


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_cross_origin(headers: dict[bytes, bytes], host: str) -> bool:
    if site := headers.get(b"sec-fetch-site"):
        return site not in {b"same-origin", b"none"}
    if origin := headers.get(b"origin"):
        return urlsplit(origin.decode("latin-1")).netloc.lower() != host.lower()
    return False

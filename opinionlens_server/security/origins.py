"""Which hosts and which pages requests may come from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from litestar.enums import ScopeType
from litestar.exceptions import ClientException, NotFoundException, PermissionDeniedException
from litestar.types import ASGIApp, Receive, Scope, Send

from pipelines.config.settings import Serving

THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_HOST: Final = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])?(?::(\d{1,5}))?", re.ASCII)


def check_origin(serving: Serving) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware that refuses unknown hosts, and changes requested by pages of other sites.

    Invalid Host headers, queries and paths are refused as well.

    An unknown host may be a name that an attacker has pointed to this machine (DNS rebinding).

    Changes are protected from cross-site request forgery as by ``http.CrossOriginProtection`` of
    Go's standard library (https://pkg.go.dev/net/http#CrossOriginProtection; its reasons are in
    https://words.filippo.io/csrf/): ``Sec-Fetch-Site`` decides, or else ``Origin``. All browsers
    send at least one of them with every change since 2020, and programs send neither, so forms
    need no token. Session cookies are ``SameSite=Lax`` besides.
    """
    is_known = _host_check(serving)

    def middleware(app: ASGIApp) -> ASGIApp:
        async def check(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                headers = dict(scope["headers"])
                host = headers.get(b"host", b"").decode("latin-1")
                if not _is_valid(host) or _is_repeated(b"host", headers, scope["headers"]):
                    raise ClientException("The request needs one valid Host header.")
                if not is_known(host):
                    raise ClientException(
                        f"This service is not called {host[:100]!r}. If it should be, add the name "
                        "to serving.allowed_hosts."
                    )
                if scope["method"] not in SAFE_METHODS and _is_cross_origin(headers, host):
                    raise PermissionDeniedException(
                        "A page of another site sent this request. Only pages of this service may."
                    )
                if scope["query_string"]:
                    _check_query(scope["query_string"])
                if "\0" in scope["path"] or _is_too_long(scope["path"]):
                    raise NotFoundException
            await app(scope, receive, send)

        return check

    return middleware


def _check_query(query: bytes) -> None:
    """Refuse what Litestar would replace by U+FFFD."""
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise ClientException("The query string is not valid UTF-8.") from None


def _is_too_long(path: str) -> bool:
    """Whether the operating system refuses the path of a static file with an error."""
    return path.startswith("/static/") and len(path.encode("utf-8", "replace")) > 255


def _host_check(serving: Serving) -> Callable[[str], bool]:
    names = serving.allowed_hosts
    if "*" in names or not (names or _is_loopback(serving.host)):
        return lambda host: True
    exact = frozenset(name.lower() for name in (*names, *THIS_MACHINE) if name[:2] != "*.")
    suffixes = tuple(name[1:].lower() for name in names if name[:2] == "*.")

    @lru_cache
    def check(host: str) -> bool:
        name = _name(host)
        return name in exact or name.endswith(suffixes)

    return check


def _is_repeated(
    name: bytes, headers: dict[bytes, bytes], pairs: Iterable[tuple[bytes, bytes]]
) -> bool:
    """Whether a header stands more than once in `pairs`, of which `headers` holds the last ones."""
    pairs = list(pairs)
    # Nearly always no header is repeated, and they need not be compared.
    return len(pairs) > len(headers) and sum(name == found for found, _ in pairs) > 1


@lru_cache
def _is_valid(host: str) -> bool:
    found = _HOST.fullmatch(host)
    return found is not None and int(found[1] or 0) < 1 << 16


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
        try:
            return urlsplit(origin.decode("latin-1")).netloc.lower() != host.lower()
        except ValueError:
            return True
    return False

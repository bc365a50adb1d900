"""How often one client may ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from ipaddress import IPv6Address
from time import monotonic
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import TooManyRequestsException

from pipelines.settings import Serving

CLIENTS: Final = 10_000
"""How many clients are remembered at most."""


class RateLimiter:
    """A leaky bucket for each client (the generic cell rate algorithm of ATM networks).

    A client has one number: the time at which its bucket will be empty. That makes a check one
    look-up, and a client that has been quiet needs no memory at all.

    Parameters
    ----------
    rate : float
        Requests per second that a client may go on making.
    burst : int
        Requests that it may make at once after a pause, at least 1.
    clock : callable, optional
        Gives the time in seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self._interval = 1 / rate
        self._tolerance = (burst - 1) / rate
        self._clock = clock
        self._empty_at: dict[str, float] = {}

    def take(self, client: str) -> float:
        """Let one request of `client` through (0.0), or say after how many seconds to try again."""
        now = self._clock()
        empty_at = max(self._empty_at.get(client, now), now)
        if (wait := empty_at - now - self._tolerance) > 0:
            return wait
        if len(self._empty_at) >= CLIENTS:
            self._forget(now)
        self._empty_at[client] = empty_at + self._interval
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop those whose bucket is empty; if most are not, everybody, for that costs nothing."""
        self._empty_at = {client: at for client, at in self._empty_at.items() if at > now}
        if len(self._empty_at) > CLIENTS // 2:
            self._empty_at.clear()


def make_rate_limiter(limits: Serving) -> RateLimiter | None:
    """The limiter that the settings ask for; None if clients may ask as often as they like."""
    return RateLimiter(limits.rate_limit, limits.rate_burst) if limits.rate_limit else None


async def limit_rate(request: Request[Any, Any, State]) -> None:
    """Look at the client before a route that everybody may use answers.

    For the argument ``before_request`` of handlers: for a guard, Litestar makes a copy of the
    handler each time, which takes longer than a prediction.

    Raises
    ------
    TooManyRequestsException
        With ``Retry-After``, if the client asks more often than the settings allow.
    """
    limiter: RateLimiter | None = request.app.state.rate_limiter
    if limiter is None:
        return
    client = request.scope["client"]
    if (wait := limiter.take(network(client[0]) if client else "")) > 0:
        seconds = math.ceil(wait)
        raise TooManyRequestsException(
            f"Too many requests. Try again in {seconds} second{'s' if seconds > 1 else ''}, or "
            "send many texts at once to /api/v1/inference/batch_predict.",
            headers={"Retry-After": str(seconds)},
        )


def network(host: str) -> str:
    """Whom an address belongs to: of IPv6, every customer has a whole network of 64 bits."""
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or address.packed[:8].hex())

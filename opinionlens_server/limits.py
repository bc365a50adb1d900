"""How often one client may ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from mmap import mmap
from pathlib import Path
from time import monotonic
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import TooManyRequestsException

from opinionlens_server.state import SharedState
from pipelines.errors import StorageError
from pipelines.settings import Serving

SLOTS: Final = 1 << 14
"""Room for clients; it is 256 KiB."""

_NEIGHBOURS: Final = 4
"""Slots that a client may take."""


class RateLimiter:
    """A leaky bucket for each client (the generic cell rate algorithm of ATM networks).

    A client has one number: the time at which its bucket will be empty. They stand in a file that
    all workers map, so that it does not matter which of them a request reaches. A client that has
    been quiet needs no room. Nothing is locked: of two requests at the same moment, one may go
    uncounted. Where more clients ask at a time than there is room, one that has to wait is
    forgotten.

    Parameters
    ----------
    rate : float
        Requests per second that a client may go on making.
    burst : int
        Requests that it may make at once after a pause, at least 1.
    file : Path
        The numbers; made if it is not there.
    clock : callable, optional
        Gives the time in seconds, the same for all processes.

    Raises
    ------
    StorageError
        If the file cannot be used.
    """

    def __init__(
        self, rate: float, burst: int, file: Path, clock: Callable[[], float] = monotonic
    ) -> None:
        self._interval = 1 / rate
        self._tolerance = (burst - 1) / rate
        self._clock = clock
        size = 2 * 8 * SLOTS
        try:
            with file.open("a+b") as opened:
                # Written, for a page that the disk has no room for would end the process.
                opened.write(bytes(max(0, size - opened.tell())))
                opened.flush()
                numbers = memoryview(mmap(opened.fileno(), size))
        except OSError as error:
            raise StorageError(
                f"{file}, which the workers share, cannot be used: {error}"
            ) from error
        self._keys = numbers[: size // 2].cast("Q")
        self._empty_at = numbers[size // 2 :].cast("d")

    def take(self, client: str) -> float:
        """Let one request of `client` through (0.0), or say after how many seconds to try again."""
        now = self._clock()
        key = _key(client)
        slot = self._slot(key)
        empty_at = now
        if self._keys[slot] == key:
            empty_at = max(now, self._empty_at[slot])
        if (wait := empty_at - now - self._tolerance) > 0:
            # Longer than any client ever has to: from before the machine's last start.
            if wait <= self._interval:
                return wait
            empty_at = now
        self._keys[slot] = key
        self._empty_at[slot] = empty_at + self._interval
        return 0.0

    def _slot(self, key: int) -> int:
        """The slot of a client, or the one that is free or will be soonest."""
        slots = [(key + i) % SLOTS for i in range(_NEIGHBOURS)]
        for slot in slots:
            if self._keys[slot] == key:
                return slot
        return min(slots, key=self._empty_at.__getitem__)


@lru_cache(SLOTS)
def _key(client: str) -> int:
    """The same in all processes; 0 stands for nobody."""
    return int.from_bytes(blake2b(client.encode(), digest_size=8).digest()) or 1


def make_rate_limiter(limits: Serving, shared: SharedState) -> RateLimiter | None:
    """The limiter that the settings ask for; None if clients may ask as often as they like."""
    if not limits.rate_limit:
        return None
    return RateLimiter(limits.rate_limit, limits.rate_burst, shared.folder / "clients")


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

"""The rate limit of clients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from mmap import mmap
from pathlib import Path
from time import monotonic
from typing import Final

from litestar.exceptions import TooManyRequestsException

from opinionlens_server.shared_state import CLIENTS, SharedState
from pipelines.config.settings import Serving
from pipelines.errors import StorageError

UNIT: Final = 10_000
"""Bytes of a request that take about as long as any request does."""

EXPLAINED: Final = 200
"""The same in characters of a text that is explained."""

TEXTS: Final = 50
"""The same in texts of a batch or a file."""

MOST: Final = 2_000
"""Units that a request may count for."""

SLOTS: Final = 1 << 14
"""Clients that fit into the file of 256 KiB."""

_NEIGHBOURS: Final = 4
"""Slots among which a client's is chosen."""


class RateLimiter:
    """A leaky bucket for each client (the generic cell rate algorithm of ATM networks).

    A client has one number: the time at which its bucket will be empty. The numbers are in a file
    that all workers map, so the limit holds for all of them together. An empty bucket needs no
    slot. Nothing is locked: of two simultaneous requests, one may not be counted. With more active
    clients than slots, the bucket that is empty soonest is overwritten.

    Requests weigh what they cost. One is allowed as soon as there is room for one unit, and may
    overfill the bucket, so that any request can be made after a pause.

    Parameters
    ----------
    rate : float
        Sustained requests per second of one client.
    burst : int
        Requests that it may send at once after a pause, at least 1.
    file : Path
        The numbers; created if missing.
    clock : callable, optional
        The time in seconds, the same for all processes.

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
        self._fullest = self._tolerance + 2 * MOST / rate
        self._clock = clock
        size = 2 * 8 * SLOTS
        try:
            with file.open("a+b") as opened:
                # Written in full: a mapped page without room on the disk would kill the process.
                opened.write(bytes(max(0, size - opened.tell())))
                opened.flush()
                numbers = memoryview(mmap(opened.fileno(), size))
        except OSError as error:
            raise StorageError(
                f"{file}, which the workers share, cannot be used: {error}"
            ) from error
        self._keys = numbers[: size // 2].cast("Q")
        self._empty_at = numbers[size // 2 :].cast("d")

    def take(self, client: str, weight: int = 1) -> float:
        """Count a request of `client`: 0.0 if it is allowed, else the seconds to wait."""
        now = self._clock()
        empty_at = self._until_empty(client, now)
        if (wait := empty_at - now - self._tolerance) > 0:
            return wait
        self._fill(client, empty_at, weight, now)
        return 0.0

    def add(self, client: str, weight: int) -> None:
        """Count so much more for a request of `client` that was allowed."""
        now = self._clock()
        self._fill(client, self._until_empty(client, now), weight, now)

    def _until_empty(self, client: str, now: float) -> float:
        """When the bucket of `client` is empty: now, or later."""
        key = key_of(client)
        slot = self._slot(key)
        empty_at = max(now, self._empty_at[slot]) if self._keys[slot] == key else now
        # No bucket is ever fuller: the number is from before the machine was restarted.
        return now if empty_at - now > self._fullest + 1 else empty_at

    def _fill(self, client: str, empty_at: float, weight: int, now: float) -> None:
        key = key_of(client)
        slot = self._slot(key)
        self._keys[slot] = key
        filled = empty_at + min(weight, MOST) * self._interval
        self._empty_at[slot] = min(filled, now + self._fullest)

    def _slot(self, key: int) -> int:
        """The slot of a client, or else the one that is free soonest."""
        slots = [(key + i) % SLOTS for i in range(_NEIGHBOURS)]
        for slot in slots:
            if self._keys[slot] == key:
                return slot
        return min(slots, key=self._empty_at.__getitem__)


@lru_cache(SLOTS)
def key_of(client: str) -> int:
    """A hash that is the same in all processes; 0 marks a free slot."""
    return int.from_bytes(blake2b(client.encode(), digest_size=8).digest()) or 1


def make_rate_limiter(
    limits: Serving, shared: SharedState, clock: Callable[[], float] = monotonic
) -> RateLimiter | None:
    """The limiter of the settings; None without a limit."""
    if not limits.rate_limit:
        return None
    return RateLimiter(limits.rate_limit, limits.rate_burst, shared.folder / CLIENTS, clock)


def limit_rate(limiter: RateLimiter | None, client: str, weight: int) -> None:
    """Count a request of `client`.

    Raises
    ------
    TooManyRequestsException
        With ``Retry-After``, if the client has sent more than the settings allow.
    """
    if limiter is None or (wait := limiter.take(network(client), weight)) <= 0:
        return
    seconds = math.ceil(wait)
    raise TooManyRequestsException(
        f"Too many requests. Try again in {seconds} second{'s' if seconds > 1 else ''}, or "
        "send many texts at once to /api/v1/inference/batch_predict.",
        headers={"Retry-After": str(seconds)},
    )


def count_more(limiter: RateLimiter | None, client: str, weight: int) -> None:
    """Count so much more for a request of `client` that was allowed: what it costs is known now."""
    if limiter is not None and weight:
        limiter.add(network(client), weight)


def network(host: str) -> str:
    """The client of an address: with IPv6, every customer has a network of 64 bits."""
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or address.packed[:8].hex())

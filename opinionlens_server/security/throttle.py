"""The throttle for wrong secrets."""

from __future__ import annotations

import time
from typing import Final

from litestar.exceptions import TooManyRequestsException

from opinionlens_server.security.rate_limit import network
from opinionlens_server.shared_state import SharedState

FAILURES: Final = 5
"""Wrong secrets that a client may send within `WINDOW`."""

WINDOW: Final = 300.0
"""Seconds."""


class Throttle:
    """Counts the wrong secrets of each client, in all workers together."""

    def __init__(self, state: SharedState) -> None:
        self._state = state

    def check(self, client: str) -> None:
        """Do nothing for a client that may try.

        Raises
        ------
        TooManyRequestsException
            For a client with too many failures; it says when to try again.
        """
        now = time.time()
        with self._state.reading() as database:
            # A time after now is from before the clock was set back, and does not count.
            times = database.execute(
                "SELECT at FROM failures WHERE client = ? AND at > ? AND at <= ? "
                "ORDER BY at DESC LIMIT ?",
                (network(client), now - WINDOW, now, FAILURES),
            ).fetchall()
        if len(times) == FAILURES:
            seconds = max(1, round(times[-1][0] + WINDOW - now))
            raise TooManyRequestsException(
                f"Too many wrong secrets came from your address. Try again in {seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            )

    def count_failure(self, client: str) -> None:
        """Count a wrong secret of `client`."""
        now = time.time()
        with self._state.writing() as database:
            database.execute("DELETE FROM failures WHERE at <= ?", (now - WINDOW,))
            database.execute("INSERT INTO failures VALUES (?, ?)", (network(client), now))

    def forget(self, client: str) -> None:
        """Delete the failures of a client that has signed in."""
        with self._state.writing() as database:
            database.execute("DELETE FROM failures WHERE client = ?", (network(client),))

"""How often a client may be wrong about a secret."""

from __future__ import annotations

import time
from typing import Final

from litestar.exceptions import TooManyRequestsException

from opinionlens_server.limits import network
from opinionlens_server.state import SharedState

FAILURES: Final = 5
"""Wrong secrets that a client may present within `WINDOW`."""

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
            For one that was wrong too often; it says when to try again.
        """
        now = time.time()
        with self._state.database() as database:
            database.execute("DELETE FROM failures WHERE at <= ?", (now - WINDOW,))
            times = [
                at
                for (at,) in database.execute(
                    "SELECT at FROM failures WHERE client = ? ORDER BY at DESC LIMIT ?",
                    (network(client), FAILURES),
                )
            ]
        if len(times) == FAILURES:
            seconds = max(1, round(times[-1] + WINDOW - now))
            raise TooManyRequestsException(
                f"Too many wrong secrets came from your address. Try again in {seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            )

    def note_failure(self, client: str) -> None:
        """Remember that `client` was wrong."""
        with self._state.database() as database:
            database.execute("INSERT INTO failures VALUES (?, ?)", (network(client), time.time()))

    def forget(self, client: str) -> None:
        """Forget the failures of a client that was right in the end."""
        with self._state.database() as database:
            database.execute("DELETE FROM failures WHERE client = ?", (network(client),))

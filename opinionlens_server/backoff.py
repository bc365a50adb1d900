"""Growing pauses between attempts that fail."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

FIRST: Final = 1.0
LONGEST: Final = 60.0


class Backoff:
    """Tells when to try again what has failed.

    Parameters
    ----------
    first, longest : float
        Seconds after the first failure, and the most; each failure doubles them.
    clock : callable, optional
        The time in seconds.
    """

    def __init__(
        self,
        first: float = FIRST,
        longest: float = LONGEST,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._first, self._longest = first, longest
        self._clock = clock
        self.failures = 0
        """Failures in a row."""
        self._next = 0.0

    @property
    def is_due(self) -> bool:
        """Whether something has failed and its pause is over."""
        return self.failures > 0 and self._clock() >= self._next

    def fail(self) -> None:
        """Count a failure and begin a pause."""
        self._next = self._clock() + min(self._longest, self._first * 2 ** min(self.failures, 30))
        self.failures += 1

    def reset(self) -> None:
        """Forget all failures."""
        self.failures = 0

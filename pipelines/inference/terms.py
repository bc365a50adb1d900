"""Terms: what an n-gram counts, by how often it occurs."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

TERMS: Final = {"presence": 0, "count": 1, "log_count": 2}
"""The ways to count, as compiled code knows them."""


@njit(cache=True, nogil=True, inline="always")
def term_value(count: float, terms: int) -> float:
    """What an n-gram counts that occurs `count` times; `terms` as in `TERMS`."""
    if terms == 1:
        return float(count)
    if terms == 2:
        return 1.0 + math.log(np.float64(count))
    return 1.0

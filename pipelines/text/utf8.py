"""UTF-8, a character at a time, for compiled code."""

# Numba ships no types, so what a compiled function returns is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def decode(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int | np.int64, int]:
    """Code point and length at `at`; a byte that is not UTF-8 is the code point -1."""
    lead = np.int64(buffer[at])
    if lead < 0x80:
        return lead, 1
    if lead < 0xC2:
        return -1, 1
    if lead < 0xE0:
        if at + 1 >= stop or buffer[at + 1] & 0xC0 != 0x80:
            return -1, 1
        return (lead & 31) << 6 | np.int64(buffer[at + 1] & 63), 2
    if lead < 0xF0:
        if at + 2 >= stop or buffer[at + 1] & 0xC0 != 0x80 or buffer[at + 2] & 0xC0 != 0x80:
            return -1, 1
        code = (lead & 15) << 12 | np.int64(buffer[at + 1] & 63) << 6
        return code | np.int64(buffer[at + 2] & 63), 3
    if (
        lead > 0xF4
        or at + 3 >= stop
        or buffer[at + 1] & 0xC0 != 0x80
        or buffer[at + 2] & 0xC0 != 0x80
        or buffer[at + 3] & 0xC0 != 0x80
    ):
        return -1, 1
    code = (lead & 7) << 18 | np.int64(buffer[at + 1] & 63) << 12
    return code | np.int64(buffer[at + 2] & 63) << 6 | np.int64(buffer[at + 3] & 63), 4


@njit(cache=True, nogil=True)
def encode(buffer: NDArray[np.uint8], at: int, code: int) -> int:
    """Write `code` as UTF-8; returns the number of bytes."""
    if code < 0x80:
        buffer[at] = code
        return 1
    if code < 0x800:
        buffer[at] = 0xC0 | code >> 6
        buffer[at + 1] = 0x80 | code & 63
        return 2
    if code < 0x10000:
        buffer[at] = 0xE0 | code >> 12
        buffer[at + 1] = 0x80 | code >> 6 & 63
        buffer[at + 2] = 0x80 | code & 63
        return 3
    buffer[at] = 0xF0 | code >> 18
    buffer[at + 1] = 0x80 | code >> 12 & 63
    buffer[at + 2] = 0x80 | code >> 6 & 63
    buffer[at + 3] = 0x80 | code & 63
    return 4

"""Which split a text belongs to: a hash of the text decides, not its place in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

    from pipelines.config.params import Split

SplitName = Literal["train", "val", "test"]
SPLITS: Final[tuple[SplitName, ...]] = get_args(SplitName)

_GOLDEN: Final = 0x9E3779B97F4A7C15
_2_64: Final = 2**64


def assign_splits(digests: pl.Series, seed: int, shares: Split) -> pl.Series:
    """Choose a split for each text.

    The choice depends on the text's digest, the seed and the shares only: equal texts are always
    in the same split, whatever file, row or data set they stand in.

    Parameters
    ----------
    digests : pl.Series of UInt64, length n
    seed : int
    shares : Split
        Expected shares of `val` and `test`, whose sum is below 1.

    Returns
    -------
    pl.Series of Enum("train", "val", "test"), length n
    """
    import polars as pl

    position = mix_with_seed(digests.to_numpy(), seed)
    test = np.uint64(int(shares.test * _2_64))
    held_out = np.uint64(int((shares.test + shares.val) * _2_64))
    index = np.where(position < test, 2, np.where(position < held_out, 1, 0)).astype(np.uint8)
    return pl.Series("split", index).cat.to(pl.Enum(SPLITS))


def mix_with_seed(digests: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Pseudo-random 64-bit numbers, a function of digest and seed, uniform for either one fixed."""
    start = np.array([(seed * _GOLDEN + _GOLDEN) % _2_64], dtype=np.uint64)
    return _mix(digests ^ _mix(start))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

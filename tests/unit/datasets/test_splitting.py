"""The split is a function of the text, the seed and the shares, and of nothing else."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.config.params import Split
from pipelines.datasets.splitting import SPLITS, assign_splits, mix_with_seed

digests = st.lists(st.integers(0, 2**64 - 1), max_size=50)
seeds = st.integers(-(2**70), 2**70)
shares = st.builds(Split, val=st.floats(0.01, 0.49), test=st.floats(0.01, 0.49))


def column(values: list[int] | NDArray[np.uint64]) -> pl.Series:
    return pl.Series("digest", values, dtype=pl.UInt64)


def counted(values: NDArray[np.uint64], seed: int, shares: Split) -> dict[str, int]:
    split = assign_splits(column(values), seed, shares)
    return {name: int((split == name).sum()) for name in SPLITS}


@given(digests, seeds, shares, st.randoms(use_true_random=False))
def test_order_and_neighbours_do_not_matter(
    values: list[int], seed: int, shares: Split, random: object
) -> None:
    by_digest = dict(zip(values, assign_splits(column(values), seed, shares), strict=True))
    shuffled = sorted(set(values), key=lambda value: hash((value, str(random))))

    assert (
        dict(zip(shuffled, assign_splits(column(shuffled), seed, shares), strict=True)) == by_digest
    )
    for value in values[:3]:
        assert assign_splits(column([value]), seed, shares).to_list() == [by_digest[value]]


@given(digests, seeds, shares, st.floats(0.001, 0.2))
def test_a_larger_test_share_only_adds_to_it(
    values: list[int], seed: int, shares: Split, more: float
) -> None:
    larger = Split(val=shares.val, test=min(0.5, shares.test + more))
    before = assign_splits(column(values), seed, shares) == "test"
    after = assign_splits(column(values), seed, larger) == "test"

    assert (after | ~before).all()


@pytest.mark.parametrize("pattern", ["consecutive", "multiples", "random"])
@pytest.mark.parametrize("seed", [0, 1, 42])
def test_shares_are_met(pattern: str, seed: int) -> None:
    n = 100_000
    values = {
        "consecutive": np.arange(n, dtype=np.uint64),
        "multiples": np.arange(n, dtype=np.uint64) << np.uint64(40),
        "random": np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64),
    }[pattern]

    found = counted(values, seed, Split(val=0.1, test=0.2))

    # Six standard deviations of a binomial count.
    assert abs(found["val"] - 0.1 * n) < 6 * (n * 0.1 * 0.9) ** 0.5
    assert abs(found["test"] - 0.2 * n) < 6 * (n * 0.2 * 0.8) ** 0.5


def test_seeds_give_unrelated_splits() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 50_000, dtype=np.uint64)
    shares = Split(val=0.25, test=0.25)
    for first, second in [(0, 1), (1, 2), (42, 43), (0, 2**32)]:
        both = assign_splits(column(values), first, shares) == "test"
        both &= assign_splits(column(values), second, shares) == "test"
        assert abs(int(both.sum()) - 50_000 / 16) < 300


def test_the_hash_is_stable() -> None:
    """Prepared data must not move between splits from one version to the next."""
    found = mix_with_seed(np.array([0, 1, 2**64 - 1], dtype=np.uint64), 42).tolist()

    assert found == [2794505115016152049, 12283479538716483227, 3166445725817293944]

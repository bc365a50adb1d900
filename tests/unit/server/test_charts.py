from __future__ import annotations

from itertools import pairwise

import pytest

from opinionlens_server.charts import HEIGHT, LOWEST, bars


def test_the_tallest_is_as_high_as_the_chart() -> None:
    found = bars([1, 4, 2], 300)

    assert [bar.height for bar in found] == [25, HEIGHT, 50]
    assert [bar.y + bar.height for bar in found] == [HEIGHT] * 3
    assert [bar.count for bar in found] == [1, 4, 2]


def test_bars_stand_side_by_side() -> None:
    found = bars([1] * 5, 100)

    assert all(a.x + a.width < b.x for a, b in pairwise(found))
    assert found[0].x > 0
    assert found[-1].x + found[-1].width < 100


def test_little_is_seen_and_nothing_is_not() -> None:
    nothing, little, _ = bars([0, 1, 1_000_000], 100)

    assert (nothing.height, little.height) == (0, LOWEST)


@pytest.mark.parametrize("counts", [[], [0], [0, 0]])
def test_without_anything_there_is_no_bar(counts: list[int]) -> None:
    assert all(bar.height == 0 for bar in bars(counts, 100))

"""Small charts: what the templates need to draw them as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

HEIGHT: Final = 100.0
"""Of a chart, in the units of its view box."""
GAP: Final = 0.2
"""Share of a bar's place that stays empty."""
LOWEST: Final = 1.5
"""Height of a bar that stands for something, however little."""


class Bar(msgspec.Struct, frozen=True):
    """One bar, in the units of the view box; y grows downwards."""

    x: float
    y: float
    width: float
    height: float
    count: int


def bars(counts: Sequence[int], width: float) -> list[Bar]:
    """Bars side by side, the tallest as high as the chart.

    Parameters
    ----------
    counts : sequence of int
        What each bar stands for.
    width : float
        Of the whole chart.
    """
    tallest = max(counts, default=0)
    place = width / max(len(counts), 1)
    return [
        _bar(count, tallest, x=place * (index + GAP / 2), width=place * (1 - GAP))
        for index, count in enumerate(counts)
    ]


def _bar(count: int, tallest: int, x: float, width: float) -> Bar:
    height = max(count / tallest * HEIGHT, LOWEST) if count else 0.0
    return Bar(round(x, 2), round(HEIGHT - height, 2), round(width, 2), round(height, 2), count)

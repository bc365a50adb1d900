"""Results that are made in another thread."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from pipelines.tables.ahead import ahead


def numbers(closed: list[bool], stop: int = 1_000) -> Generator[int, None, None]:
    try:
        yield from range(stop)
        raise LookupError("the end")
    finally:
        closed.append(True)


def test_items_and_errors_arrive_in_order() -> None:
    closed: list[bool] = []
    found = ahead(numbers(closed, 5))
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError, match="the end"):
        next(found)
    assert closed == [True]


def test_nothing_goes_on_when_nobody_wants_more() -> None:
    closed: list[bool] = []
    threads = threading.active_count()

    def doubled(items: Generator[int, None, None]) -> Generator[int, None, None]:
        for item in ahead(items):
            yield 2 * item

    pieces = ahead(doubled(numbers(closed)))
    assert next(pieces) == 0
    pieces.close()

    assert closed == [True]
    assert threading.active_count() == threads

"""Fair timing: contestants take turns, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

THREADS: Final = 2


def use_two_processors() -> int:
    """Let this process and those it starts run on two processors; returns how many it got."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    return len(os.sched_getaffinity(0))


def take_turns(
    contestants: Mapping[str, Callable[[], object]], repetitions: int
) -> dict[str, float]:
    """Median seconds of each contestant over `repetitions` rounds in which each runs once."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, run in contestants.items():
            gc.collect()
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(measured) for name, measured in seconds.items()}

"""What the service has been doing: workers, requests, and the verdicts of the last minutes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from opinionlens_server.metrics import Metrics, gauge
from opinionlens_server.state import SharedState, is_running

MINUTES: Final = 30
SAMPLE_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Totals(NamedTuple):
    """Counters of all workers since the service started."""

    requests: int
    positive: int
    negative: int


class Minute(msgspec.Struct, frozen=True):
    """Verdicts of one minute."""

    positive: int
    negative: int

    @property
    def verdicts(self) -> int:
        """Of both kinds."""
        return self.positive + self.negative


class ServiceFacts(msgspec.Struct, frozen=True):
    """The service at a glance."""

    seconds: float
    """Since its first worker started."""
    workers: int
    totals: Totals
    minutes: list[Minute]
    """The last half hour, oldest first; the last one is the minute that runs."""


class WorkersCollector(Collector):
    """What Prometheus is told about the workers' processes."""

    def __init__(self, state: SharedState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        with self._state.database() as database:
            signed_on = database.execute("SELECT pid FROM workers").fetchall()
        running = [pid for (pid,) in signed_on if is_running(pid)]
        yield gauge("opinionlens_workers", "Workers that run", len(running))
        if memory := sum(map(_memory, running)):
            yield gauge("opinionlens_memory_bytes", "Memory of all workers together", memory)


class Activity:
    """Keeps the counters as they were at the beginning of each minute.

    Parameters
    ----------
    metrics : Metrics
        Has the counters of all workers.
    state : SharedState
        Where the workers keep them together.
    """

    def __init__(self, metrics: Metrics, state: SharedState) -> None:
        self._metrics = metrics
        self._state = state
        self._started = time.time()
        metrics.tell(WorkersCollector(state))

    async def watch(self) -> None:
        """Look at the counters every few seconds until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look at the counters once; the first time before the worker answers anything."""
        try:
            await asyncio.to_thread(self._sign_on)
            await asyncio.to_thread(self.sample)
        except Exception:
            # The page lacks a few minutes then; that is no reason to stop serving.
            logger.exception("The activity could not be written down.")

    def sample(self) -> None:
        """Write the counters down if no worker has done it in this minute."""
        minute = int(time.time() // 60)
        with self._state.database() as database:
            query = "SELECT 1 FROM minutes WHERE minute = ?"
            if database.execute(query, (minute,)).fetchone():
                return
        totals = self._totals()
        with self._state.database() as database:
            database.execute("INSERT OR IGNORE INTO minutes VALUES (?, ?, ?, ?)", (minute, *totals))
            database.execute("DELETE FROM minutes WHERE minute < ?", (minute - MINUTES,))

    def facts(self) -> ServiceFacts:
        """The service at a glance, all workers together."""
        now = time.time()
        totals = self._totals()
        with self._state.database() as database:
            samples = {
                minute: Totals(*counts)
                for minute, *counts in database.execute("SELECT * FROM minutes ORDER BY minute")
            }
            workers = database.execute("SELECT pid, started FROM workers").fetchall()
        return ServiceFacts(
            seconds=now - min((started for _, started in workers), default=now),
            workers=sum(is_running(pid) for pid, _ in workers),
            totals=totals,
            minutes=_differences(samples, totals, int(now // 60)),
        )

    def _sign_on(self) -> None:
        with self._state.database() as database:
            gone = [
                (pid,)
                for (pid,) in database.execute("SELECT pid FROM workers")
                if not is_running(pid)
            ]
            database.executemany("DELETE FROM workers WHERE pid = ?", gone)
            database.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?)", (os.getpid(), self._started)
            )

    def _totals(self) -> Totals:
        requests = positive = negative = 0.0
        for family in text_string_to_metric_families(self._metrics.render().decode()):
            for sample in family.samples:
                if sample.name == "http_requests_total":
                    requests += sample.value
                elif sample.name == "predicted_sentiment_total":
                    if sample.labels["sentiment"] == "POSITIVE":
                        positive += sample.value
                    else:
                        negative += sample.value
        return Totals(int(requests), int(positive), int(negative))


def _memory(pid: int) -> int:
    """Bytes of a process, with its share of what it shares; 0 where the kernel does not say."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _differences(samples: dict[int, Totals], now: Totals, minute: int) -> list[Minute]:
    """Verdicts per minute from the counters at the beginning of minutes.

    What happened in a time without samples counts for its last minute.
    """
    samples = {**samples, minute + 1: now}
    known = sorted(samples)
    counted = {
        end - 1: Minute(
            max(0, samples[end].positive - samples[start].positive),
            max(0, samples[end].negative - samples[start].negative),
        )
        for start, end in pairwise(known)
    }
    nothing = Minute(0, 0)
    return [counted.get(each, nothing) for each in range(minute - MINUTES + 1, minute + 1)]

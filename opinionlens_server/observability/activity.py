"""Activity of the service: workers, requests, and predictions per minute."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from opinionlens_server.models.active import ActiveModel
from opinionlens_server.observability.drift import DriftMonitor
from opinionlens_server.observability.metrics import Metrics, Totals, gauge
from opinionlens_server.shared_state import SharedState, is_running
from pipelines.errors import StorageError

MINUTES: Final = 30
SAMPLE_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Minute(msgspec.Struct, frozen=True):
    """Predictions of one minute."""

    positive: int
    negative: int


class ServiceFacts(msgspec.Struct, frozen=True):
    """Facts about the service for the admin page."""

    seconds: float
    """Time since its first worker started."""
    workers: int
    totals: Totals
    minutes: list[Minute]
    """The last half hour, oldest first; the last one is the current minute."""


class WorkersCollector(Collector):
    """Metrics of the workers' processes."""

    def __init__(self, state: SharedState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus."""
        try:
            with self._state.reading() as database:
                workers = database.execute("SELECT pid, behind FROM serving").fetchall()
        except StorageError:
            return  # the other metrics can be told
        running = {pid: behind for pid, behind in workers if is_running(pid)}
        yield gauge("opinionlens_workers", "Workers that run", len(running))
        yield gauge(
            "opinionlens_workers_behind",
            "Workers that cannot load the active model and answer with another one",
            sum(running.values()),
        )
        if memory := sum(map(_memory, running)):
            yield gauge("opinionlens_memory_bytes", "Memory of all workers together", memory)


class Activity:
    """Stores the counters at the beginning of each minute."""

    def __init__(
        self,
        metrics: Metrics,
        state: SharedState,
        active_model: ActiveModel,
        drift: DriftMonitor,
    ) -> None:
        self._metrics = metrics
        self._drift = drift
        self._state = state
        self._active_model = active_model
        self._started = time.time()
        self._problem = ""
        metrics.add(WorkersCollector(state))

    async def watch(self) -> None:
        """Call :meth:`update` every few seconds until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self.update()

    async def update(self) -> None:
        """Register this worker and store the counters; the first time before any request."""
        try:
            await asyncio.to_thread(self._register)
            await asyncio.to_thread(self.sample)
            await asyncio.to_thread(self._drift.share)
            self._problem = ""
        except Exception as error:
            # The admin page lacks some minutes then; that is no reason to stop serving.
            if (problem := str(error)) != self._problem:
                logger.warning("The activity of the service cannot be stored: %s", problem)
                self._problem = problem

    def sample(self) -> None:
        """Store the counters if no worker has done so in this minute."""
        minute = int(time.time() // 60)
        with self._state.reading() as database:
            query = "SELECT 1 FROM minutes WHERE minute = ?"
            if database.execute(query, (minute,)).fetchone():
                return
        totals = self._metrics.totals()
        with self._state.writing() as database:
            database.execute(
                "INSERT OR IGNORE INTO minutes VALUES (?, ?, ?, ?)", (minute, *totals[:3])
            )
            database.execute("DELETE FROM minutes WHERE minute < ?", (minute - MINUTES,))

    def facts(self) -> ServiceFacts:
        """Facts about all workers together."""
        now = time.time()
        totals = self._metrics.totals()
        with self._state.reading() as database:
            samples = {
                minute: Totals(*counts)
                for minute, *counts in database.execute("SELECT * FROM minutes ORDER BY minute")
            }
            workers = database.execute("SELECT pid, started FROM serving").fetchall()
        return ServiceFacts(
            seconds=now - min((started for _, started in workers), default=now),
            workers=sum(is_running(pid) for pid, _ in workers),
            totals=totals,
            minutes=_differences(samples, totals, int(now // 60)),
        )

    def _register(self) -> None:
        with self._state.writing() as database:
            gone = [
                (pid,)
                for (pid,) in database.execute("SELECT pid FROM serving")
                if not is_running(pid)
            ]
            database.executemany("DELETE FROM serving WHERE pid = ?", gone)
            database.execute(
                "INSERT OR REPLACE INTO serving VALUES (?, ?, ?)",
                (os.getpid(), self._started, self._active_model.behind),
            )


def _memory(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 where the kernel does not report it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _differences(samples: dict[int, Totals], now: Totals, minute: int) -> list[Minute]:
    """Predictions per minute from the counters at the beginning of minutes.

    Predictions in a gap between samples are counted in its last minute.
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

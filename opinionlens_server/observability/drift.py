"""Drift: are the newest texts like those that the model was made for?

The answers that a worker has given wait as numbers; every few seconds they are counted in the bins
of the model's profile, and the counts go to the state that the workers share. No text is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Lock
from typing import Final

import msgspec
import numpy as np
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from opinionlens_server.models.active import COMPARED, ActiveModel
from opinionlens_server.observability.metrics import Metrics, gauge
from opinionlens_server.shared_state import SharedState
from pipelines.errors import StorageError
from pipelines.files import sha256_of
from pipelines.inference.profiling import columns_of
from pipelines.training.text_profile import Drift, TextProfile

ENOUGH: Final = 300
"""Fewer texts say nothing."""

_NEWEST: Final = (
    "DELETE FROM judged WHERE id IN (SELECT id FROM"
    " (SELECT id, texts, SUM(texts) OVER (ORDER BY id DESC) AS newer FROM judged)"
    " WHERE newer - texts >= ?)"
)
"""Deletes what is older than the newest texts."""


class DriftStatus(msgspec.Struct, frozen=True):
    """What is known about the texts of the loaded model."""

    measured: bool
    """Whether the model says what its texts should look like."""
    texts: int = 0
    """Newest texts that were counted."""
    drift: Drift | None = None
    """None: they are too few."""
    enough: int = ENOUGH


class DriftMonitor:
    """Compares the newest texts of all workers with the profile of the loaded model.

    Parameters
    ----------
    metrics : Metrics
        Gets the results.
    state : SharedState
    active_model : ActiveModel
    hours : float
        Older texts do not count.
    """

    def __init__(
        self, metrics: Metrics, state: SharedState, active_model: ActiveModel, hours: float
    ) -> None:
        self._state = state
        self._active_model = active_model
        self._seconds = hours * 3600
        self._sharing = Lock()
        metrics.add(DriftCollector(self))

    def share(self) -> None:
        """Count what this worker has judged since the last time, for all workers to see."""
        loaded = self._active_model.loaded
        if loaded is None or loaded.profile is None:
            return
        with self._sharing:
            judged = [loaded.judged.popleft() for _ in range(len(loaded.judged))]
        if not judged:
            return
        counts = loaded.profile.count(columns_of(judged, loaded.scorer.classes.names))
        encoded = msgspec.json.encode({name: bins.tolist() for name, bins in counts.items()})
        now, key = time.time(), _key(loaded.profile)
        with self._state.writing() as database:
            database.execute(
                "INSERT INTO judged (at, profile, texts, counts) VALUES (?, ?, ?, ?)",
                (now, key, len(judged), encoded),
            )
            database.execute(
                "DELETE FROM judged WHERE at < ? OR profile != ?", (now - self._seconds, key)
            )
            database.execute(_NEWEST, (COMPARED,))

    def status(self) -> DriftStatus:
        """The newest texts of all workers beside the profile of this worker's model.

        Raises
        ------
        StorageError
            If the shared state cannot be used.
        """
        loaded = self._active_model.loaded
        if loaded is None or loaded.profile is None:
            return DriftStatus(measured=False)
        self.share()
        with self._state.reading() as database:
            rows = database.execute(
                "SELECT texts, counts FROM judged WHERE at >= ? AND profile = ?",
                (time.time() - self._seconds, _key(loaded.profile)),
            ).fetchall()
        texts = sum(row[0] for row in rows)
        if texts < ENOUGH:
            return DriftStatus(True, texts)
        parts = [msgspec.json.decode(encoded, type=dict[str, list[int]]) for _, encoded in rows]
        counts = {name: np.sum([each[name] for each in parts], axis=0) for name in parts[0]}
        return DriftStatus(True, texts, loaded.profile.compare(counts))


class DriftCollector(Collector):
    """Metrics of drift."""

    def __init__(self, monitor: DriftMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus."""
        try:
            status = self._monitor.status()
        except StorageError:
            return  # the other metrics can be told
        yield gauge(
            "opinionlens_drift_measured",
            "Whether the loaded model says what its texts should look like",
            status.measured,
        )
        yield gauge("opinionlens_drift_texts", "Newest texts that were counted", status.texts)
        if (drift := status.drift) is not None:
            yield _by_feature(
                "opinionlens_drift_psi",
                "Population stability index of the newest texts and those of the model",
                drift.psi,
            )
            yield _by_feature(
                "opinionlens_drift_limit", "Above it, the texts are different", drift.limits
            )


def _by_feature(name: str, documentation: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=["feature"])
    for feature, value in values.items():
        family.add_metric([feature], value)
    return family


def _key(profile: TextProfile) -> str:
    return sha256_of(msgspec.json.encode(profile))

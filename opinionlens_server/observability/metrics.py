"""Metrics for Prometheus: requests by route, inferences, and the active model.

With several workers, `olens serve` sets ``PROMETHEUS_MULTIPROC_DIR`` to a folder: each worker keeps
its numbers there in its own file, and the worker that is scraped adds them up. A text contributes
only its length and its label.
"""

from __future__ import annotations

import logging
import os
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import partial
from http import HTTPMethod
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from opinionlens_server.models.active import ActiveModel
from pipelines.labels import MOST_CLASSES, NEGATIVE, POSITIVE

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

OTHER: Final = "OTHER"
"""The label of predictions once there have been very many labels."""

FILE_BYTES: Final = {"counter": 1 << 17, "histogram": 1 << 19}
"""Sizes of a worker's files, several times what all routes need."""

UNMATCHED: Final = "unmatched"
"""The route of requests without a route: their paths are whatever clients make up."""

INFERENCE: Final = frozenset(
    {
        "model_inference_time_seconds",
        "input_text_length_chars",
        "batch_size_text",
        "batch_inference_time_per_item_seconds",
        "predicted_sentiment",
    }
)
"""Names of the families of inference."""

# A linear model takes microseconds, other models milliseconds.
INFERENCE_BUCKETS: Final = (
    *(5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6),
    *(1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 100e-3, 1.0),
)
LENGTH_BUCKETS: Final = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
BATCH_BUCKETS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
REQUEST_BUCKETS: Final = (
    *(0.25e-3, 0.5e-3, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

_METHODS: Final = frozenset(HTTPMethod)

logger = logging.getLogger(__name__)


class Totals(NamedTuple):
    """Counters of all workers since the service started."""

    requests: int
    positive: int
    negative: int
    others: int = 0
    """Predictions of other classes."""

    @property
    def verdicts(self) -> int:
        """All predictions."""
        return self.positive + self.negative + self.others


class Metrics:
    """The metrics of one worker, and the sums over all workers."""

    def __init__(self, active_model: ActiveModel) -> None:
        self._own = CollectorRegistry()
        self._collectors: list[Collector] = [ModelCollector(active_model)]
        self._folder = _reserve_folder()
        counter = partial(Counter, registry=self._own)
        histogram = partial(Histogram, registry=self._own)
        inference_histogram = partial(histogram, buckets=INFERENCE_BUCKETS)
        self._requests = counter(
            "http_requests",
            "Requests by the template of their route",
            ("method", "route", "status"),
        )
        self._request_seconds = histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the end of its answer",
            ("method", "route"),
            buckets=REQUEST_BUCKETS,
        )
        self._inference_seconds = inference_histogram(
            "model_inference_time_seconds", "Time that the model takes for a single text"
        )
        self._item_seconds = inference_histogram(
            "batch_inference_time_per_item_seconds",
            "Time that the model takes for a batch, by its texts",
        )
        self._lengths = histogram(
            "input_text_length_chars", "Characters of the predicted texts", buckets=LENGTH_BUCKETS
        )
        self._batch_sizes = histogram("batch_size_text", "Texts of a batch", buckets=BATCH_BUCKETS)
        self._labels = counter("predicted_sentiment", "Predictions by their label", ("sentiment",))
        self._fetches = counter(
            "opinionlens_model_fetches", "Models fetched from the registry over HTTP", ("outcome",)
        )
        # Looking up a child by its labels takes longer than counting.
        self._sentiments: dict[str, Counter] = {
            label: self._labels.labels(label) for label in (POSITIVE, NEGATIVE)
        }
        self._routes: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def add(self, collector: Collector) -> None:
        """Add a collector of facts that are the same in all workers."""
        self._collectors.append(collector)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is a template such as ``/api/v1/models/{id}``."""
        key = method, route, status
        children = self._routes.get(key)
        if children is None:
            known = method if method in _METHODS else "OTHER"
            children = (
                self._requests.labels(known, route, str(status)),
                self._request_seconds.labels(known, route),
            )
            if known == method:
                self._routes[key] = children
        counter, histogram = children
        counter.inc()
        histogram.observe(seconds)

    def observe_text(self, sentiment: str, length: int, seconds: float) -> None:
        """Count a text of `length` characters whose prediction took `seconds`."""
        self._inference_seconds.observe(seconds)
        self._lengths.observe(length)
        self._sentiment(sentiment).inc()

    def observe_batch(self, sentiments: list[str], lengths: Iterable[int], seconds: float) -> None:
        """Count a batch whose predictions took `seconds`."""
        size = len(sentiments)
        self._batch_sizes.observe(size)
        self._item_seconds.observe(seconds / size)
        for length in lengths:
            self._lengths.observe(length)
        for sentiment, count in Tally(sentiments).items():
            self._sentiment(sentiment).inc(count)

    def _sentiment(self, label: str) -> Counter:
        """The counter of a label; models may come and go, but the labels stay bounded."""
        found = self._sentiments.get(label)
        if found is None:
            known = label if len(self._sentiments) < MOST_CLASSES else OTHER
            found = self._sentiments.setdefault(known, self._labels.labels(known))
        return found

    def observe_fetch(self, succeeded: bool) -> None:
        """Count an attempt to fetch a model."""
        self._fetches.labels("succeeded" if succeeded else "failed").inc()

    def render(self, names: Container[str] | None = None) -> bytes:
        """All metrics, or the families with certain names, in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(_Families(self._all_workers(), names))
        if names is None:
            for collector in self._collectors:
                registry.register(collector)
        return generate_latest(registry)

    def totals(self) -> Totals:
        """The counters of requests and predictions, all workers together."""
        counts: dict[tuple[str, str], float] = defaultdict(float)
        for family in _Families(self._all_workers()).collect():
            for sample in family.samples:
                counts[sample.name, sample.labels.get("sentiment", "")] += sample.value
        verdicts = {
            label: int(value)
            for (name, label), value in counts.items()
            if name == "predicted_sentiment_total"
        }
        positive, negative = verdicts.pop(POSITIVE, 0), verdicts.pop(NEGATIVE, 0)
        requests = int(counts["http_requests_total", ""])
        return Totals(requests, positive, negative, sum(verdicts.values()))

    def _all_workers(self) -> Collector | CollectorRegistry:
        if self._folder is None:
            return self._own
        # It registers itself, which is no use here.
        return MultiProcessCollector(CollectorRegistry(), self._folder)  # type: ignore[no-untyped-call]


def _reserve_folder() -> str | None:
    """The folder of the workers' metrics, with room for those of this one; None without room.

    The files are mapped into memory, and a process that writes to a mapped page without room on the
    disk is killed. So all pages are written beforehand.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return None
    files = {Path(folder, f"{kind}_{os.getpid()}.db"): size for kind, size in FILE_BYTES.items()}
    try:
        for path, size in files.items():
            with path.open("a+b") as file:
                file.write(bytes(max(0, size - file.tell())))
    except OSError as error:
        logger.warning(
            "The disk of the metrics cannot be used (%s): this worker counts for itself.",
            error.strerror,
        )
        for path in files:
            path.unlink(missing_ok=True)
        values.ValueClass = values.MutexValue
        return None
    return folder


class ModelCollector(Collector):
    """Metrics of models, read from the cache that all workers share."""

    def __init__(self, active_model: ActiveModel) -> None:
        self._active_model = active_model

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus."""
        loaded = self._active_model.loaded
        info = InfoMetricFamily("opinionlens_model", "The loaded model")
        if loaded is not None:
            model = loaded.info
            labels = {"id": model.id, "name": model.name, "version": str(model.version)}
            info.add_metric([], labels)
        yield info
        yield gauge("opinionlens_model_ready", "Whether a model is loaded", loaded is not None)
        yield gauge(
            "opinionlens_model_refused",
            "Whether the active model cannot be loaded",
            self._active_model.problem is not None,
        )
        cached = self._active_model.cache.list()
        yield gauge("opinionlens_model_cache_models", "Models in the cache", len(cached))
        size = sum(model.size for model in cached)
        yield gauge("opinionlens_model_cache_bytes", "Their size on disk", size)
        if loaded is not None and loaded.activated is not None:
            yield gauge(
                "opinionlens_model_last_switch_timestamp_seconds",
                "When the loaded model was activated",
                loaded.activated,
            )


class _Families(Collector):
    """Families of another collector: all of them, or those with certain names.

    It has no `describe`, so registering it does not collect all samples to learn the names.
    """

    def __init__(
        self, source: Collector | CollectorRegistry, names: Container[str] | None = None
    ) -> None:
        self._source = source
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for family in self._source.collect():
            if self._names is None or family.name in self._names:
                # The creation time of a counter is useless, and missing with several workers.
                family.samples = [s for s in family.samples if not s.name.endswith("_created")]
                yield family


def gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    """A family of one sample without labels."""
    return GaugeMetricFamily(name, documentation, value=float(value))

"""What Prometheus is told: requests by route, inferences, and the model that answers.

With several workers, `olens serve` names a folder in ``PROMETHEUS_MULTIPROC_DIR``: each worker
keeps its numbers there in a file of its own, and whichever worker is asked adds all of them up.
No metric holds anything of a text but its length.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from http import HTTPMethod
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from opinionlens_server.active_model import ActiveModel

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

UNMATCHED: Final = "unmatched"
"""The route of requests that no route takes: their paths are whatever clients make up."""

INFERENCE: Final = frozenset(
    {
        "model_inference_time_seconds",
        "input_text_length_chars",
        "batch_size_text",
        "batch_inference_time_per_item_seconds",
        "predicted_sentiment",
    }
)
"""Names of the families that tell about inference alone."""

# A linear model takes microseconds, another one milliseconds.
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


class Metrics:
    """The metrics of one worker, and the sums over all workers.

    Parameters
    ----------
    active_model : ActiveModel
        For what is told about models.
    """

    def __init__(self, active_model: ActiveModel) -> None:
        registry = CollectorRegistry()
        self._own = registry
        self._facts: list[Collector] = [ModelCollector(active_model)]
        self._folder = os.environ.get(FOLDER_VARIABLE)
        self._requests = Counter(
            "http_requests",
            "Requests by the template of their route",
            ("method", "route", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the end of its answer",
            ("method", "route"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._inference_seconds = Histogram(
            "model_inference_time_seconds",
            "Time that the model takes for a single text",
            buckets=INFERENCE_BUCKETS,
            registry=registry,
        )
        self._lengths = Histogram(
            "input_text_length_chars",
            "Characters of the texts that were judged",
            buckets=LENGTH_BUCKETS,
            registry=registry,
        )
        self._batch_sizes = Histogram(
            "batch_size_text", "Texts of a batch", buckets=BATCH_BUCKETS, registry=registry
        )
        self._item_seconds = Histogram(
            "batch_inference_time_per_item_seconds",
            "Time that the model takes for a batch, by its texts",
            buckets=INFERENCE_BUCKETS,
            registry=registry,
        )
        sentiments = Counter(
            "predicted_sentiment", "Predictions by their label", ("sentiment",), registry=registry
        )
        self._fetches = Counter(
            "opinionlens_model_fetches",
            "Models fetched from the registry over HTTP",
            ("outcome",),
            registry=registry,
        )
        # Looking up a child by its labels takes longer than counting.
        self._sentiments: dict[str, Counter] = {
            label: sentiments.labels(label) for label in ("POSITIVE", "NEGATIVE")
        }
        self._routes: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def tell(self, facts: Collector) -> None:
        """Add facts that are the same whichever worker is asked."""
        self._facts.append(facts)

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
        """Count a single text of `length` characters that took the model `seconds`."""
        self._inference_seconds.observe(seconds)
        self._lengths.observe(length)
        self._sentiments[sentiment].inc()

    def observe_batch(self, sentiments: list[str], lengths: Iterable[int], seconds: float) -> None:
        """Count a batch that took the model `seconds` altogether."""
        size = len(sentiments)
        positive = sentiments.count("POSITIVE")
        self._batch_sizes.observe(size)
        self._item_seconds.observe(seconds / size)
        for length in lengths:
            self._lengths.observe(length)
        self._sentiments["POSITIVE"].inc(positive)
        self._sentiments["NEGATIVE"].inc(size - positive)

    def observe_fetch(self, succeeded: bool) -> None:
        """Count an attempt to fetch a model."""
        self._fetches.labels("succeeded" if succeeded else "failed").inc()

    def render(self) -> bytes:
        """All of it, in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(_Families(self._all_workers()))
        for facts in self._facts:
            registry.register(facts)
        return generate_latest(registry)

    def render_inference(self) -> bytes:
        """What tells about inference alone."""
        registry = CollectorRegistry()
        registry.register(_Families(self._all_workers(), INFERENCE))
        return generate_latest(registry)

    def _all_workers(self) -> Collector | CollectorRegistry:
        if self._folder is None:
            return self._own
        # It registers itself, which is no use here.
        return MultiProcessCollector(CollectorRegistry(), self._folder)  # type: ignore[no-untyped-call]


class ModelCollector(Collector):
    """Facts about models, read from the cache that all workers share."""

    def __init__(self, active_model: ActiveModel) -> None:
        self._active_model = active_model

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        loaded = self._active_model.loaded
        info = InfoMetricFamily("opinionlens_model", "The model that answers")
        if loaded is not None:
            model = loaded.info
            labels = {"id": model.id, "name": model.name, "version": str(model.version)}
            info.add_metric([], labels)
        yield info
        yield gauge("opinionlens_model_ready", "Whether a model answers", loaded is not None)
        yield gauge(
            "opinionlens_model_refused",
            "Whether the model that should be active cannot be loaded",
            self._active_model.problem is not None,
        )
        cached = self._active_model.cache.list()
        yield gauge("opinionlens_model_cache_models", "Models in the cache", len(cached))
        size = sum(model.size for model in cached)
        yield gauge("opinionlens_model_cache_bytes", "Their size on disk", size)
        if loaded is not None and loaded.activated is not None:
            yield gauge(
                "opinionlens_model_last_switch_timestamp_seconds",
                "When the model that answers was made the active one",
                loaded.activated,
            )


class _Families(Collector):
    """Families of another collector: all of them, or those with certain names.

    Without a `describe`, registering it does not collect everything once to learn the names.
    """

    def __init__(
        self, source: Collector | CollectorRegistry, names: Container[str] | None = None
    ) -> None:
        self._source = source
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for family in self._source.collect():
            if self._names is None or family.name in self._names:
                # When a counter was made says nothing, and with several workers it is not there.
                family.samples = [s for s in family.samples if not s.name.endswith("_created")]
                yield family


def gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    """A family of one sample without labels."""
    return GaugeMetricFamily(name, documentation, value=float(value))

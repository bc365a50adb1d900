"""``/metrics`` and ``/api/v1/metrics``: what Prometheus scrapes."""

from __future__ import annotations

from typing import Final

from litestar import Controller, Response, get

from opinionlens_server.dependencies import MetricsDependency

MEDIA_TYPE: Final = "text/plain; version=0.0.4"


class MetricsController(Controller):
    """Everything there is to know about this service, all workers together."""

    path = "/metrics"
    tags = ("metrics",)

    @get("/", sync_to_thread=True, summary="All metrics", media_type="text/plain")
    def show(self, metrics: MetricsDependency) -> Response[bytes]:
        """Requests, inferences and the model, in the text format of Prometheus."""
        return _exposition(metrics.render())


class InferenceMetricsController(Controller):
    """The part that tells about inference."""

    path = "/metrics"
    tags = ("metrics",)

    @get("/", sync_to_thread=True, summary="Metrics of inference", media_type="text/plain")
    def show(self, metrics: MetricsDependency) -> Response[bytes]:
        """Times, lengths and verdicts, in the text format of Prometheus."""
        return _exposition(metrics.render_inference())


def _exposition(text: bytes) -> Response[bytes]:
    return Response(text, media_type=MEDIA_TYPE)

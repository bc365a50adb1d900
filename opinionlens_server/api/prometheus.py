"""``/metrics`` and ``/api/v1/metrics``: metrics for Prometheus, summed over the workers."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get

from opinionlens_server.http.requests import AppRequest
from opinionlens_server.observability.metrics import INFERENCE

MEDIA_TYPE: Final = "text/plain; version=0.0.4"
_TEXT: Final[Any] = {"tags": ["metrics"], "media_type": "text/plain", "sync_to_thread": True}


@get("/metrics", summary="All metrics", **_TEXT)
def show_metrics(request: AppRequest) -> Response[bytes]:
    """Requests, inferences and the model, in the text format of Prometheus."""
    return Response(request.services.metrics.render(), media_type=MEDIA_TYPE)


@get("/api/v1/metrics", summary="Metrics of inference", **_TEXT)
def show_inference_metrics(request: AppRequest) -> Response[bytes]:
    """Times, text lengths and predictions, in the text format of Prometheus."""
    return Response(request.services.metrics.render(INFERENCE), media_type=MEDIA_TYPE)


METRICS: Final = (show_metrics, show_inference_metrics)

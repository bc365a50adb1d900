"""The routes that the page and ``/api/v1`` list, each with a `curl` command that can be copied."""

from __future__ import annotations

import json
import shlex
from typing import Final

import msgspec

from opinionlens_server.http.requests import AppRequest

EXAMPLE: Final = "The plot is thin, but the acting is superb."
TOKEN_VARIABLE: Final = "OLENS_SERVING__ADMIN_TOKEN"

PREDICT: Final = "/api/v1/inference/predict"
BATCH: Final = "/api/v1/inference/batch_predict"
FILE: Final = "/api/v1/inference/file_predict"
EXPLAIN: Final = "/api/v1/inference/explain"
FEEDBACK: Final = "/api/v1/feedback"
MODELS: Final = "/api/v1/models"


class Route(msgspec.Struct, frozen=True):
    """One line of the table."""

    method: str
    path: str
    summary: str
    curl: str
    admin: bool = False


def list_routes(request: AppRequest) -> list[Route]:
    """The routes, with the address by which the client reached the service."""
    base_url = str(request.base_url).rstrip("/")
    loaded = request.services.active_model.loaded
    model_id, name = (loaded.info.id, loaded.info.name) if loaded else ("NAME-v1", "NAME")
    serving = request.services.settings.serving
    has_port = bool(serving.metrics_port)  # for metrics alone
    key = ['-H "X-API-Key: $API_KEY"'] if request.services.credentials.needs_key else []
    token = f'-H "Authorization: Bearer ${TOKEN_VARIABLE}"'

    def route(method: str, path: str, summary: str, *options: str) -> Route:
        url = shlex.quote(base_url + path.replace("{id}", model_id))
        return Route(method, path, summary, " ".join(["curl", url, *options]), token in options)

    query = f"--data-urlencode {shlex.quote('text=' + EXAMPLE)}"
    correction = route(
        "POST",
        FEEDBACK,
        "Say what a text should have been; it is stored.",
        *(key if serving.feedback_access == "everyone" else [token]),
        _body({"text": EXAMPLE, "label": "POSITIVE"}),
    )
    texts = [EXAMPLE, "Two hours late, and no apology."]
    fetch = {"model_name": name, "set_default": True}
    return [
        route("POST", PREDICT, "Predict one text.", *key, _body({"text": EXAMPLE})),
        route("GET", PREDICT, "Predict a text in the query string.", *key, "-G", query),
        route(
            "POST", BATCH, "Predict many texts; the answers keep their order.", *key, _body(texts)
        ),
        route(
            "POST",
            FILE,
            "Predict the rows of a file (--data-binary @reviews.csv), which comes back with them.",
            *key,
            _body({"text": EXAMPLE}, "application/jsonl"),
        ),
        route(
            "POST",
            EXPLAIN,
            "Predict one text, with the contribution of every word and sentence.",
            *key,
            _body({"text": EXAMPLE}),
        ),
        *([correction] if serving.feedback else []),
        route("GET", MODELS, "List the models on this machine."),
        route("GET", f"{MODELS}/{{id}}", "Show one model: version, aliases, metrics, size."),
        route("GET", "/health/ready", "Show whether a model is loaded."),
        *([] if has_port else [route("GET", "/metrics", "Show the metrics for Prometheus.")]),
        route("GET", "/schema", "Show the OpenAPI document."),
        route("GET", f"{MODELS}/registry", "List the models of the registry.", token),
        route("POST", MODELS, "Fetch a model; set_default activates it.", token, _body(fetch)),
        route(
            "PUT",
            f"{MODELS}/active",
            "Activate a model.",
            "-X PUT",
            token,
            _body({"id": model_id}),
        ),
        route("DELETE", f"{MODELS}/{{id}}", "Remove a model.", "-X DELETE", token),
    ]


def _body(value: object, media_type: str = "application/json") -> str:
    encoded = json.dumps(value, ensure_ascii=False)
    return f"-H 'Content-Type: {media_type}' -d {shlex.quote(encoded)}"

"""The routes that the page and ``/api/v1`` list, each with a `curl` line that works as it is."""

from __future__ import annotations

import json
import shlex
from typing import Final

import msgspec

from pipelines.registry.entries import CachedModel

EXAMPLE: Final = "The plot is thin, but the acting is superb."
TOKEN_VARIABLE: Final = "OLENS_SERVING__ADMIN_TOKEN"


class Route(msgspec.Struct, frozen=True):
    """One line of the table."""

    method: str
    path: str
    summary: str
    curl: str
    admin: bool = False


def list_routes(base_url: str, model: CachedModel | None, needs_key: bool = False) -> list[Route]:
    """The routes as a client reaches them.

    Parameters
    ----------
    base_url : str
        Scheme, host and port that the client used, without a slash at the end.
    model : CachedModel, optional
        The active model, for the lines that need a name or an ID.
    needs_key : bool
        Whether judging texts needs an API key, which the lines read from ``$API_KEY``.
    """
    model_id, name = (model.id, model.name) if model else ("NAME-v1", "NAME")

    def curl(path: str, *options: str) -> str:
        return " ".join(["curl", shlex.quote(base_url + path), *options])

    def body(value: object) -> str:
        encoded = json.dumps(value, ensure_ascii=False)
        return f"-H 'Content-Type: application/json' -d {shlex.quote(encoded)}"

    key = ['-H "X-API-Key: $API_KEY"'] if needs_key else []
    token = f'-H "Authorization: Bearer ${TOKEN_VARIABLE}"'
    predict, batch = "/api/v1/inference/predict", "/api/v1/inference/batch_predict"
    explain = "/api/v1/inference/explain"
    models = "/api/v1/models"
    return [
        Route(
            "POST",
            predict,
            "The verdict on one text.",
            curl(predict, *key, body({"text": EXAMPLE})),
        ),
        Route(
            "GET",
            predict,
            "The same for a text in the query string.",
            curl(predict, *key, "-G", f"--data-urlencode {shlex.quote('text=' + EXAMPLE)}"),
        ),
        Route(
            "POST",
            batch,
            "Many texts at once. The answers keep their order.",
            curl(batch, *key, body([EXAMPLE, "Two hours late, and no apology."])),
        ),
        Route(
            "POST",
            explain,
            "The verdict with what every word and sentence contributed.",
            curl(explain, *key, body({"text": EXAMPLE})),
        ),
        Route("GET", models, "The models on this machine.", curl(models)),
        Route(
            "GET",
            f"{models}/{{id}}",
            "One model: version, aliases, metrics, size.",
            curl(f"{models}/{model_id}"),
        ),
        Route("GET", "/health/ready", "Whether a model answers.", curl("/health/ready")),
        Route("GET", "/metrics", "Figures for Prometheus.", curl("/metrics")),
        Route("GET", "/schema", "The whole API as OpenAPI.", curl("/schema")),
        Route(
            "GET",
            f"{models}/registry",
            "What the model registry offers.",
            curl(f"{models}/registry", token),
            admin=True,
        ),
        Route(
            "POST",
            models,
            "Fetch a model; set_default lets it answer.",
            curl(models, token, body({"model_name": name, "set_default": True})),
            admin=True,
        ),
        Route(
            "PUT",
            f"{models}/active",
            "Let another model answer.",
            curl(f"{models}/active", "-X PUT", token, body({"id": model_id})),
            admin=True,
        ),
        Route(
            "DELETE",
            f"{models}/{{id}}",
            "Remove a model. The active one is kept.",
            curl(f"{models}/{model_id}", "-X DELETE", token),
            admin=True,
        ),
    ]

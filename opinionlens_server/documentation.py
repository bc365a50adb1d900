"""What the OpenAPI document says about errors and limits."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Example

from opinionlens_server.inference import QUERY_CHARACTERS
from pipelines.settings import Serving


class ProblemDetails(msgspec.Struct, frozen=True):
    """What went wrong, and what to do about it (RFC 9457)."""

    status: int
    """The status of the answer."""
    title: str
    """The name of the status."""
    detail: str
    """What went wrong this time, in a sentence."""
    errors: list[dict[str, str]] | None = None
    """The parts of the request that cannot be used."""


_MEANINGS: Final = {
    400: ("The request cannot be used.", "The text is empty. Send a text with at least one word."),
    401: ("Who asks is not known.", "This route needs a credential."),
    403: ("Whoever asks may not do this.", "This server has no admin token."),
    404: ("There is no such model.", "The cache has no model 'reviews-v9'."),
    405: ("The route does not know this method.", "Method Not Allowed"),
    409: ("The active model stays.", "reviews-v1 is the active model. Activate another one first."),
    413: ("The request is larger than the limits of this server.", "The limit here is 100,000."),
    422: ("The model cannot be used.", "reviews-v2 is damaged. Fetch it again."),
    429: ("The client asks too often.", "Too many requests. Try again in 1 second."),
    500: ("Something went wrong here.", "The log of the server says what."),
    502: ("The model registry answers with an error.", "The registry does not know the alias."),
    503: ("Something that is needed does not answer.", "There is no model yet."),
    507: ("The disk is full.", "There is no space left for the model."),
}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a handler, for its argument ``responses``."""
    return {
        status: ResponseSpec(
            ProblemDetails,
            description=_MEANINGS[status][0],
            media_type="application/problem+json",
            generate_examples=False,
            examples=[
                Example(
                    value={
                        "status": status,
                        "title": HTTPStatus(status).phrase,
                        "detail": _MEANINGS[status][1],
                    }
                )
            ],
        )
        for status in statuses
    }


class LimitedJson(JsonRenderPlugin):
    """The document as JSON, with the limits of this server."""

    def __init__(self, limits: Serving) -> None:
        super().__init__(path=["/", "/openapi.json"])
        self._limits = limits

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Called by Litestar."""
        _add_limits(openapi_schema, self._limits)
        return super().render(request, openapi_schema)


class LimitedYaml(YamlRenderPlugin):
    """The document as YAML, with the limits of this server."""

    def __init__(self, limits: Serving) -> None:
        super().__init__()
        self._limits = limits

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Called by Litestar."""
        _add_limits(openapi_schema, self._limits)
        return super().render(request, openapi_schema)


def _add_limits(document: dict[str, Any], limits: Serving) -> None:
    """Say what Litestar cannot read off the types of handlers."""
    text = {"minLength": 1, "maxLength": limits.max_text_length, "pattern": r"\S"}
    routes = {path.rpartition("/")[2]: route for path, route in document["paths"].items()}
    query = routes["predict"]["get"]["parameters"][0]["schema"]
    query.update(text, maxLength=min(limits.max_text_length, QUERY_CHARACTERS))
    batch = routes["batch_predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    batch["maxItems"] = limits.max_batch_size
    batch["items"].update(text)
    schemas = document["components"]["schemas"]
    schemas["TextBody"]["properties"]["text"].update(text)
    for name in ("FetchRequest", "ActivateRequest"):
        schemas[name]["additionalProperties"] = False
    # A version or an alias, not both.
    schemas["FetchRequest"]["not"] = {
        "properties": {"model_version": {"type": "integer"}, "alias": {"type": "string"}},
        "required": ["model_version", "alias"],
    }

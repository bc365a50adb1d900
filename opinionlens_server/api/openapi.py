"""The OpenAPI document: errors, credentials and limits."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    License,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
    Tag,
)

from opinionlens_server.models.predictor import QUERY_CHARACTERS
from pipelines.config.settings import Serving


class ProblemDetails(msgspec.Struct, frozen=True):
    """An error and what to do about it (RFC 9457)."""

    status: int
    """The status of the answer."""
    title: str
    """The name of the status."""
    detail: str
    """What went wrong, in a sentence."""
    errors: list[dict[str, str]] | None = None
    """The invalid parts of the request."""


DESCRIPTION: Final = "Classifies texts as positive or negative, with a confidence."

_MEANINGS: Final = {
    400: ("The request is invalid.", "The text is empty. Send a text with at least one word."),
    401: ("A credential is missing or wrong.", "This route needs a credential."),
    403: ("The client may not do this.", "This server has no admin token."),
    404: ("There is no such model.", "The cache has no model 'reviews-v9'."),
    405: ("The route has no such method.", "Method Not Allowed"),
    409: ("The active model stays.", "reviews-v1 is the active model. Activate another one first."),
    413: ("The request is larger than the limits of this server.", "The limit here is 100,000."),
    422: ("The model cannot be used.", "reviews-v2 is damaged. Fetch it again."),
    429: ("The client has sent too many requests.", "Too many requests. Try again in 1 second."),
    500: ("An internal error occurred.", "The server's log has the details."),
    502: ("The model registry answers with an error.", "The registry does not know the alias."),
    503: ("A model or the registry is not available.", "There is no model yet."),
    507: ("The disk is full.", "There is no space left for the model."),
}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a handler, for its argument ``responses``."""
    return {
        s: answer
        for status in statuses
        for s, answer in problem(status, *_MEANINGS[status]).items()
    }


def problem(status: int, meaning: str, detail: str) -> dict[int, ResponseSpec]:
    """One error answer with a meaning of its own, and an example of its detail."""
    value = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail}
    answer = ResponseSpec(
        ProblemDetails,
        description=meaning,
        media_type="application/problem+json",
        generate_examples=False,
        examples=[Example(value=value)],
    )
    return {status: answer}


def openapi_config() -> OpenAPIConfig:
    """The document without its routes."""
    return OpenAPIConfig(
        title="OpinionLens",
        version=version("opinionlens"),
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        # In the order in which the reference lists them.
        tags=[
            Tag(name) for name in ("inference", "models", "feedback", "about", "health", "metrics")
        ],
        # The HTML pages of Litestar load their scripts from other hosts.
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        components=Components(
            security_schemes={
                "adminToken": SecurityScheme(type="http", scheme="bearer"),
                "apiKey": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="Needed only where the operator has set API keys.",
                ),
            }
        ),
    )


def add_limits(app: Litestar, limits: Serving) -> None:
    """Make the document of `app`, with the limits that the types of handlers do not show."""
    document: Any = app.openapi_schema
    routes = {path.rpartition("/")[2]: route for path, route in document.paths.items()}
    schemas = document.components.schemas
    batch = routes["batch_predict"].post.request_body.content["application/json"].schema
    batch.max_items = limits.max_batch_size
    query = routes["predict"].get.parameters[0].schema
    for text in (query, batch.items, schemas["TextBody"].properties["text"]):
        text.max_length = limits.max_text_length
    # An empty text of a batch is answered as such.
    for text in (query, schemas["TextBody"].properties["text"]):
        text.min_length, text.pattern = 1, r"\S"
    query.max_length = min(limits.max_text_length, QUERY_CHARACTERS)
    closed = ["FetchRequest", "ActivateRequest"]
    if limits.feedback:
        closed.append("Feedback")
        schemas["Feedback"].properties["text"] = schemas["TextBody"].properties["text"]
    for name in closed:
        schemas[name].additional_properties = False
    # A version or an alias, not both.
    both: dict[str, Schema | Reference] = {
        "model_version": Schema(type=OpenAPIType.INTEGER),
        "alias": Schema(type=OpenAPIType.STRING),
    }
    schemas["FetchRequest"].schema_not = Schema(properties=both, required=list(both))
    _describe_files(routes["file_predict"].post)


def _describe_files(operation: Any) -> None:
    """Say which files go in and out; handlers read and write them as bytes."""
    binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    form = Schema(type=OpenAPIType.OBJECT, properties={"file": binary}, required=["file"])
    text = OpenAPIMediaType(Schema(type=OpenAPIType.STRING))
    operation.request_body = RequestBody(
        {
            "application/octet-stream": OpenAPIMediaType(binary),
            "multipart/form-data": OpenAPIMediaType(form),
        },
        required=True,
    )
    operation.responses["200"].content = {
        "text/csv": text,
        "application/jsonl": text,
        "application/json": OpenAPIMediaType(Schema(type=OpenAPIType.ARRAY)),
        "application/vnd.apache.parquet": OpenAPIMediaType(binary),
    }

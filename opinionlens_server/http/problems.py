"""Errors as ``application/problem+json`` (RFC 9457), and as a page for browsers."""

from __future__ import annotations

import logging
import re
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, ValidationException
from litestar.plugins.problem_details import (
    ProblemDetailsConfig,
    ProblemDetailsException,
    ProblemDetailsPlugin,
)
from litestar.response import Template
from litestar_htmx import HTMXTemplate

from opinionlens_server.security.public_messages import public_message
from pipelines import errors

if TYPE_CHECKING:
    from opinionlens_server.http.requests import AppRequest

STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    errors.InputError: HTTPStatus.BAD_REQUEST,
    errors.NoActiveModelError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ModelInUseError: HTTPStatus.CONFLICT,
    errors.ModelError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnreachableStorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageError: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.MissingExtraError: HTTPStatus.NOT_IMPLEMENTED,
    errors.RegistryUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RegistryError: HTTPStatus.BAD_GATEWAY,
    errors.OpinionLensError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of each kind of error; the nearest class counts."""

logger = logging.getLogger(__name__)


class Problem(ProblemDetailsException):
    """An error, answered as a page to browsers and as JSON to programs."""

    def to_response(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """The answer in the form that the client reads."""
        if cast("AppRequest", request).htmx:
            # htmx puts it into the page; two pages have a place for notices.
            place = request.scope["path"].startswith(("/admin", "/label"))
            return HTMXTemplate(
                re_target="#notice" if place else None,
                re_swap="innerHTML" if place else None,
                template_name="partials/problem.html",
                context={"detail": self.detail},
                status_code=self.status_code,
                headers=self.headers,
                media_type=MediaType.HTML,
            )
        if not wants_page(request):
            return super().to_response(request)
        return Template(
            "error.html",
            context={"status": self.status_code, "title": self.title, "detail": self.detail},
            status_code=self.status_code,
            headers=self.headers,
            media_type=MediaType.HTML,
        )


def to_problem(error: Exception) -> Problem:
    """The problem of any exception."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationException):
        return _problem(error.status_code, _describe(error), extra=error.extra)
    if isinstance(error, HTTPException):
        return _problem(error.status_code, error.detail, error.headers, error.extra)
    if isinstance(error, errors.OpinionLensError):
        status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
        message = public_message(error)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and message != str(error):
            logger.warning("%s", error)
        return _problem(status, message)
    logger.error("A request failed: %s", type(error).__name__, extra={"trace": _trace(error)})
    return _problem(500, "An internal error occurred. The server's log has the details.")


def too_large(message: str) -> HTTPException:
    """The error of a request that exceeds a limit."""
    return HTTPException(message, status_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def problem_details() -> ProblemDetailsPlugin:
    """The plugin that answers every exception through :func:`to_problem`."""
    kinds = (HTTPException, errors.OpinionLensError, Exception)
    return ProblemDetailsPlugin(
        ProblemDetailsConfig(exception_to_problem_detail_map=dict.fromkeys(kinds, to_problem))
    )


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Whether a browser asks for a page."""
    # Not `request.url`: with an invalid Host header, it cannot be parsed.
    path = request.scope["path"]
    return not path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def _trace(error: BaseException) -> str:
    """The traceback without the message, which may quote a user's text."""
    trace = f"{type(error).__qualname__}\n{''.join(traceback.format_tb(error.__traceback__))}"
    before = error.__cause__ or error.__context__
    return f"{trace}after {_trace(before)}" if before else trace


def _problem(
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    extra: dict[str, Any] | list[Any] | None = None,
) -> Problem:
    return Problem(
        detail=detail,
        status_code=status,
        title=HTTPStatus(status).phrase,
        headers=headers,
        extra={"errors": extra} if extra else None,
    )


def _describe(error: ValidationException) -> str:
    """The invalid parts in words; Litestar's own message only names the route."""
    if not isinstance(error.extra, list):
        return error.detail
    found = [(entry.get("key", ""), entry.get("message", "")) for entry in error.extra]
    if ("data", "'data'") in found:
        return "The request has no body. This route reads JSON."
    # Litestar calls the body `data`, and only the cause names the wrong item of a list.
    body = "The body"
    if item := re.search(r"`\$\.data\[(\d+)\]", str(error.__cause__)):
        body = f"Item {item[1]} of the body (counted from 0)"
    return "; ".join(
        f"{body if key == 'data' else key}: {message[:1].lower()}{message[1:]}"
        for key, message in found
    )

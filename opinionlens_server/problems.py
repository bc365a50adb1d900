"""Every error as ``application/problem+json`` (RFC 9457), or as a page where a browser asks."""

from __future__ import annotations

import logging
import traceback
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, ValidationException
from litestar.plugins.problem_details import (
    ProblemDetailsConfig,
    ProblemDetailsException,
    ProblemDetailsPlugin,
)
from litestar.response import Template

from pipelines import errors

STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    errors.InputError: HTTPStatus.BAD_REQUEST,
    errors.NoActiveModelError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ModelInUseError: HTTPStatus.CONFLICT,
    errors.ModelError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.StorageError: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.RegistryUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RegistryError: HTTPStatus.BAD_GATEWAY,
    errors.OpinionLensError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of each kind of error; the nearest class counts."""

logger = logging.getLogger(__name__)


class Problem(ProblemDetailsException):
    """An error that a person with a browser gets as a page and everybody else as JSON."""

    def to_response(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """The answer in the form that the client reads."""
        if request.headers.get("hx-request"):
            return self._to_part(request)
        if not wants_page(request):
            return super().to_response(request)
        return Template(
            "error.html",
            context={"status": self.status_code, "title": self.title, "detail": self.detail},
            status_code=self.status_code,
            headers=self.headers,
            media_type=MediaType.HTML,
        )

    def _to_part(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """A message for htmx to put into the page."""
        place = {"HX-Retarget": "#notice", "HX-Reswap": "innerHTML"}
        on_admin_page = request.url.path.startswith("/admin")
        return Template(
            "partials/problem.html",
            context={"detail": self.detail},
            status_code=self.status_code,
            headers={**(self.headers or {}), **(place if on_admin_page else {})},
            media_type=MediaType.HTML,
        )


def to_problem(error: Exception) -> Problem:
    """Say in one way what went wrong, whoever noticed it."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationException):
        return _problem(error.status_code, _explain(error), extra=error.extra)
    if isinstance(error, HTTPException):
        return _problem(error.status_code, error.detail, error.headers, error.extra)
    if isinstance(error, errors.OpinionLensError):
        status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
        return _problem(status, str(error))
    logger.error("A request failed: %s", type(error).__name__, extra={"trace": _trace(error)})
    return _problem(500, "Something went wrong here. The log of the server says what.")


def problem_details() -> ProblemDetailsPlugin:
    """The plugin that answers every exception through :func:`to_problem`."""
    kinds = (HTTPException, errors.OpinionLensError, Exception)
    return ProblemDetailsPlugin(
        ProblemDetailsConfig(exception_to_problem_detail_map=dict.fromkeys(kinds, to_problem))
    )


def _trace(error: BaseException) -> str:
    """Where an error came from, in code alone: its message may quote the text of a user."""
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


def _explain(error: ValidationException) -> str:
    """Litestar names the route and leaves what is wrong to `extra`; a person wants it in words."""
    if not isinstance(error.extra, list):
        return error.detail
    found = [(entry.get("key", ""), entry.get("message", "")) for entry in error.extra]
    if ("data", "'data'") in found:
        return "The request has no body. This route reads JSON."
    # `data` is Litestar's name for the whole body.
    return "; ".join(
        f"{'The body' if key == 'data' else key}: {message[:1].lower()}{message[1:]}"
        for key, message in found
    )


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Whether a person with a browser asks for one of the pages."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get(
        "accept", ""
    )

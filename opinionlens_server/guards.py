"""Who may do what."""

from __future__ import annotations

import secrets
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from pipelines.settings import Settings


def require_admin(
    connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
) -> None:
    """Let through only whoever presents the admin token.

    Raises
    ------
    PermissionDeniedException
        When this server has no admin token, so that nobody may change its models.
    NotAuthorizedException
        When the token is missing or wrong.
    """
    settings: Settings = connection.app.state.settings
    expected = settings.serving.admin_token
    if not expected:
        raise PermissionDeniedException(
            "This server has no admin token, so its models cannot be managed over HTTP. Set "
            "OLENS_SERVING__ADMIN_TOKEN and restart it, or use `olens models` on the machine."
        )
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    # Headers arrive as Latin-1; comparing bytes lets a token hold any character.
    presented = token.strip().encode("latin-1", "replace")
    right = secrets.compare_digest(presented, expected.encode())
    if scheme.lower() != "bearer" or not right:
        raise NotAuthorizedException(
            "Managing models needs the header `Authorization: Bearer TOKEN` with the admin token "
            "of this server (`olens serve` prints it, or serving.admin_token sets it).",
            headers={"WWW-Authenticate": "Bearer"},
        )

"""Reading request bodies: UTF-8 or nothing, and no copy of a user's text kept afterwards."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.datastructures import FormMultiDict, State
from litestar.exceptions import ClientException, SerializationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

FORM_FIELDS = 100
"""How many fields a form may have."""


class TextRequest(Request[Any, Any, State]):
    """A request whose broken text is the client's error, said in plain words."""

    async def body(self) -> bytes:
        """The body, at most as long as the settings allow."""
        try:
            return await super().body()
        except RequestEntityTooLarge:
            limit = self.route_handler.resolve_request_max_body_size()
            raise RequestEntityTooLarge(
                f"The request has more than {limit:,} bytes, which is the limit here."
            ) from None

    async def json(self) -> Any:
        """The body as JSON."""
        try:
            return await super().json()
        except UnicodeDecodeError:
            raise ClientException("The body is not valid UTF-8.") from None
        except SerializationException as error:
            raise ClientException(
                f"The body is not valid JSON: {error}. (Escapes like \\ud800 must come in pairs.)"
            ) from None

    async def form(self) -> FormMultiDict:
        """The fields of a URL-encoded form.

        Litestar's own parser remembers the last 1,024 forms, and with them what users wrote.
        """
        try:
            encoded = (await self.body()).decode("ascii")
            return FormMultiDict(
                parse_qsl(
                    encoded, keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS
                )
            )
        except UnicodeDecodeError:
            raise ClientException("The form is not valid UTF-8.") from None
        except ValueError as error:
            raise ClientException(f"The form cannot be read: {error}.") from None

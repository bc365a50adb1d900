"""Reading request bodies: UTF-8 or nothing, and no copy of a user's text kept afterwards."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.datastructures import FormMultiDict, State
from litestar.exceptions import ClientException, SerializationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import Empty, HTTPReceiveMessage

FORM_FIELDS: Final = 100
"""How many fields a form may have."""


class FormPart(msgspec.Struct, frozen=True):
    """A field of a form that can carry files."""

    content: bytes
    filename: str = ""
    """What the client calls the file; empty for a field without one."""

    @property
    def text(self) -> str:
        """The content of a field without a file."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise ClientException("The form is not valid UTF-8.") from None


class TextRequest(Request[Any, Any, State]):
    """A request whose broken text is the client's error, said in plain words."""

    async def body(self) -> bytes:
        """The body, at most as long as the settings allow.

        It is read in one go. Litestar's way over a stream takes as long as a prediction.
        """
        if self._body is Empty:
            self._body = await self._read(self.route_handler.resolve_request_max_body_size())
        return self._body

    async def _read(self, limit: int | None) -> bytes:
        if limit is not None and self._announced() > limit:
            raise _too_large(limit)
        chunks, size = [], 0
        while True:
            message = cast(HTTPReceiveMessage, await self.receive())
            if message["type"] == "http.disconnect":
                raise ClientException("The client went away before it had sent everything.")
            chunk = message["body"]
            chunks.append(chunk)
            size += len(chunk)
            if limit is not None and size > limit:
                raise _too_large(limit)
            if not message["more_body"]:
                return chunk if len(chunks) == 1 else b"".join(chunks)

    def _announced(self) -> int:
        """What the client says about the length; the server sees to it that it is a number."""
        return next((int(v) for k, v in self.scope["headers"] if k == b"content-length"), 0)

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

    async def parts(self) -> dict[str, FormPart]:
        """The fields of a form of type ``multipart/form-data``.

        They are kept in memory only: Litestar's own parser puts large ones into temporary files,
        and what users send does not belong on a disk. The last one of a name counts.
        """
        from multipart import (  # type: ignore[import-untyped]
            MultipartError,
            MultipartParser,
            parse_options_header,
        )

        kind, options = parse_options_header(self.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise ClientException("This route reads a form of type multipart/form-data.")
        body = await self.body()
        size = len(body)
        try:
            parser = MultipartParser(
                BytesIO(body),
                options["boundary"],
                part_limit=FORM_FIELDS,
                spool_limit=size,
                memory_limit=size,
                disk_limit=0,
            )
            return {part.name: FormPart(part.raw, part.filename or "") for part in parser}
        except (MultipartError, UnicodeError) as error:
            raise ClientException(f"The form cannot be read: {error}.") from None


def _too_large(limit: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(
        f"The request has more than {limit:,} bytes, which is the limit here."
    )

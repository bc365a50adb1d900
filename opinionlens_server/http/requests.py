"""Request bodies: UTF-8 or an error, and no copy of a user's text kept afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.datastructures import FormMultiDict
from litestar.exceptions import ClientException, SerializationException
from litestar.types import Empty, HTTPReceiveMessage
from litestar_htmx.request import HTMXDetails

from opinionlens_server.http.problems import too_large
from pipelines.text.text_lists import decode_texts

if TYPE_CHECKING:
    from opinionlens_server.services import Services

FORM_FIELDS: Final = 100
"""Most fields of a form."""

FORM_BYTES: Final = 16_384
"""Most bytes of a URL-encoded form without a text in it, and of a field beside a file."""

LARGE: Final = 1 << 18
"""Bytes of a body from which on it is joined and decoded in a thread."""


class FormPart(msgspec.Struct, frozen=True):
    """One field of a multipart form."""

    content: bytes
    filename: str = ""
    """The client's name of the file; empty for a field without one."""

    @property
    def text(self) -> str:
        """The content of a field without a file."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise ClientException("The form is not valid UTF-8.") from None


def file_of(form: Mapping[str, FormPart]) -> tuple[str, bytes]:
    """The name, without folders, and the content of the field `file`; both empty without one."""
    file = form.get("file", FormPart(b""))
    return PurePath(file.filename.replace("\\", "/")).name, file.content


class AppRequest(Request[Any, Any, Any]):
    """A request to this application; text that cannot be decoded is the client's error."""

    services: ClassVar[Services]
    """The services of the application."""

    @classmethod
    def of(cls, services: Services) -> type[AppRequest]:
        """The class of the requests to one application.

        Litestar's dependency injection takes a third of the time of a prediction.
        """
        return type("AppRequest", (cls,), {"services": services})

    @property
    def htmx(self) -> HTMXDetails:
        """What htmx says of the request; false if the request is not of htmx."""
        # `HTMXRequest` makes it for each request, of programs too.
        return HTMXDetails(self)

    @property
    def is_https(self) -> bool:
        """Whether the browser used HTTPS."""
        return self.scope["scheme"] == "https"

    @property
    def address(self) -> str:
        """The client's IP address."""
        client = self.scope["client"]
        return client[0] if client else ""

    async def body(self, limit: int | None = None) -> bytes:
        """The body, at most as long as ``serving.max_body_size``, or `limit`.

        It is read in one go. Litestar's own stream takes as long as a prediction.
        """
        if self._body is Empty:
            largest = self.route_handler.resolve_request_max_body_size()
            self._body = await self._read(min(filter(None, (limit, largest)), default=None))
        return self._body

    async def _read(self, limit: int | None) -> bytes:
        if limit is not None and self.announced_length > limit:
            raise _body_too_large(limit)
        chunks, size = [], 0
        while True:
            message = cast(HTTPReceiveMessage, await self.receive())
            if message["type"] == "http.disconnect":
                raise ClientException("The connection was closed before the whole body arrived.")
            chunk = message["body"]
            chunks.append(chunk)
            size += len(chunk)
            if limit is not None and size > limit:
                raise _body_too_large(limit)
            if not message["more_body"]:
                if size > LARGE:
                    return await asyncio.to_thread(b"".join, chunks)
                return chunk if len(chunks) == 1 else b"".join(chunks)

    @property
    def announced_length(self) -> int:
        """Bytes that the body is to have; 0 if it comes in chunks. Uvicorn refuses other values."""
        for name, value in self.scope["headers"]:
            if name == b"content-length":
                return int(value)
        return 0

    async def json(self) -> Any:
        """The body as JSON."""
        try:
            return await super().json()
        except UnicodeDecodeError:
            raise ClientException("The body is not valid UTF-8.") from None
        except RecursionError:
            raise ClientException("The body is nested too deeply.") from None
        except SerializationException as error:
            hint = ""
            if b"\\ud" in (await self.body()).lower():
                hint = " (Escapes like \\ud800 must come in pairs.)"
            raise ClientException(f"The body is not valid JSON: {error}.{hint}") from None

    async def read_texts(self, most: int) -> None:
        """Decode a large body as a list of texts, in a thread; :meth:`json` then has it.

        Soon after `most` texts, the rest is left out.
        """
        body = await self.body()
        if len(body) > LARGE:
            found = await asyncio.to_thread(decode_texts, body, most)
            self._json = self._connection_state.json = found
            self._body = b"["  # Litestar asks whether there is one; the rest is not needed any more

    async def form(self, limit: int = FORM_BYTES) -> FormMultiDict:
        """The fields of a URL-encoded form of at most `limit` bytes.

        Litestar's own parser keeps the last 1,024 forms in memory, and with them what users wrote.
        """
        body = await self.body(limit)
        try:
            if len(body) <= FORM_BYTES:
                return _parse_form(body)
            return await asyncio.to_thread(_parse_form, body)
        except UnicodeDecodeError:
            raise ClientException("The form is not valid UTF-8.") from None
        except ValueError as error:
            raise ClientException(f"The form cannot be read: {error}.") from None

    async def parts(self) -> dict[str, FormPart]:
        """The fields of a ``multipart/form-data`` form; the last one of a name counts.

        They are kept in memory: Litestar's own parser writes large ones to temporary files, and
        what users send does not belong on a disk. Parsing takes long, so it is done in a thread.
        """
        content_type = self.headers.get("content-type", "")
        return await asyncio.to_thread(_parse_multipart, content_type, await self.body())


def _parse_form(body: bytes) -> FormMultiDict:
    return FormMultiDict(
        parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FORM_FIELDS,
        )
    )


def _parse_multipart(content_type: str, body: bytes) -> dict[str, FormPart]:
    from multipart import (  # type: ignore[import-untyped]
        MultipartError,
        MultipartParser,
        parse_options_header,
    )

    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise ClientException("This route reads a form of type multipart/form-data.")
    try:
        parser = MultipartParser(
            BytesIO(body),
            options["boundary"],
            part_limit=FORM_FIELDS,
            spool_limit=len(body),
            memory_limit=len(body),
            disk_limit=0,
        )
        return {part.name: FormPart(_content(part), part.filename or "") for part in parser}
    except (MultipartError, UnicodeError) as error:
        raise ClientException(f"The form cannot be read: {error}.") from None


def _content(part: Any) -> bytes:
    """The bytes of a file, or of a field, which may not have many."""
    if part.filename is None and part.size > FORM_BYTES:
        raise too_large(f"A field of the form has more than {FORM_BYTES:,} bytes, the limit here.")
    return cast(bytes, part.raw)


def _body_too_large(limit: int) -> Exception:
    return too_large(f"The request has more than {limit:,} bytes, which is the limit here.")

"""A lean HTTP client: one kept connection, for tests that ask tens of thousands of times."""

from __future__ import annotations

import asyncio
from typing import Self
from urllib.parse import urlsplit


class Connection:
    """A connection to a server that answers with ``Content-Length``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the host and port of `url`."""
        address = urlsplit(url)
        return cls(*await asyncio.open_connection(address.hostname, address.port))

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send JSON; the status and the body of the answer."""
        self._writer.write(encode_post(path, body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        length = next(f for f in fields if f.startswith(b"content-length:")).partition(b":")[2]
        return int(head.split(b" ", 2)[1]), await self._reader.readexactly(int(length))

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        await self._writer.wait_closed()


def encode_post(path: str, body: bytes) -> bytes:
    """A whole request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

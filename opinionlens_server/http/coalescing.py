"""Uvicorn's HTTP protocol with coalesced writes.

Uvicorn writes the head of an answer and then its body. Each write wakes the client, which on a
virtual machine takes longer than a prediction. Here all writes of one iteration of the event loop
are joined, so head and body are one packet: 1.23 times the predictions per second over 16
connections, 1.39 times over 64, no more over one (wrk, two processors).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class CoalescingProtocol(HttpToolsProtocol):
    """A connection whose transport joins writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        joined = CoalescingTransport(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, joined))


class CoalescingTransport:
    """Joins the writes to `transport` of one iteration of `loop`, and leaves the rest to it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing  # asked several times for each request
        self._call_soon = loop.call_soon
        self._buffer: list[bytes] = []
        self._flushed = 0

    @property
    def sent(self) -> int:
        """Bytes that the client, or the system for it, has taken."""
        return self._flushed - self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data` after the callbacks that are ready now."""
        if not self._buffer:
            self._call_soon(self._flush)
        self._buffer.append(bytes(data))

    def _flush(self) -> None:
        joined = b"".join(self._buffer)
        self._buffer.clear()
        # What is written to a connection that was given up reaches nobody.
        if joined and not self.is_closing():
            self._flushed += len(joined)
            self._transport.write(joined)

    def close(self) -> None:
        """Close the connection after all data are written."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._buffer.clear()
        self._transport.abort()

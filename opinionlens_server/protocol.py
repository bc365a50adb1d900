"""HTTP as Uvicorn speaks it, but with the head and the body of an answer in one packet.

Uvicorn writes them one after the other, and each write wakes the kernel and the client. `olens
serve` names :class:`OnePacketProtocol` to Uvicorn; an answer to a short text is a sixth cheaper.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OnePacketProtocol(HttpToolsProtocol):
    """A connection whose transport holds the head of an answer back until its body comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(HoldingTransport(transport, self.loop))


class HoldingTransport(asyncio.Transport):
    """A transport that joins two writes of the same turn of the event loop.

    Parameters
    ----------
    transport : asyncio.Transport
        What really writes.
    loop : asyncio.AbstractEventLoop
        Its event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._call_soon = loop.call_soon
        self._held: bytes | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at once if something was held back before, else within this turn."""
        if self._held is None:
            self._held = bytes(data)
            # For what has no body, or one that takes its time.
            self._call_soon(self._release)
        else:
            held, self._held = self._held, None
            self._transport.write(held + data)

    def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)

    def close(self) -> None:
        """Close the connection after everything is written."""
        self._release()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._held = None
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket, its addresses and its encryption."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop reading."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol have the connection."""
        self._transport.set_protocol(protocol)

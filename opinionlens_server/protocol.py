"""HTTP as Uvicorn speaks it, but all answers of a turn of the event loop are written together.

Uvicorn writes the head of an answer, then its body, and both before it turns to the next request.
Each write wakes the client, which on a virtual machine takes longer than a verdict. Held back until
the callbacks that are due have been called, head and body are one packet, and a client that reads
many answers is woken once. `olens serve` names :class:`TogetherProtocol` to Uvicorn.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class TogetherProtocol(HttpToolsProtocol):
    """A connection whose transport writes at the end of the turn."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(HoldingTransport(transport, self.loop))


class HoldingTransport(asyncio.Transport):
    """A transport that joins all that is written in one turn of the event loop.

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
        self._held: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data` when the callbacks that are due have been called."""
        if not self._held:
            self._call_soon(self._release)
        self._held.append(bytes(data))

    def _release(self) -> None:
        if self._held:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Close the connection after everything is written."""
        self._release()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._held.clear()
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

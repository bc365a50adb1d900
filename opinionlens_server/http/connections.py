"""Limits of connections: how many there are, and how long a client may take to send a request.

Uvicorn waits for heads and bodies without an end, and reads heads of any size. `olens serve` passes
:class:`LimitedProtocol` to Uvicorn, by way of :class:`opinionlens_server.workers.ServerConfig`.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from opinionlens_server.http.coalescing import CoalescingProtocol, CoalescingTransport
from opinionlens_server.http.connection_counts import ConnectionCounts
from opinionlens_server.security.rate_limit import network

if TYPE_CHECKING:
    from opinionlens_server.workers import ServerConfig

HEADERS: Final = 100
"""Most headers of a request."""

URL: Final = 65_535
"""Most bytes of a URL: the parser counts them in 16 bits."""

BYTES_PER_SECOND: Final = 1_000
"""A slower body is given up after ``serving.body_timeout``."""

GRACE: Final = 2.0
"""Seconds that half-sent requests have when the service ends."""

PIECE: Final = 4_096
"""Bytes that are parsed at once: hardly more than a hundred requests, if they are many.

Of a body whose length was announced, all that has arrived is parsed at once.
"""

TURN: Final = 0.001
"""Seconds after which the other connections have a turn: chunks of a body may be very small.

In one iteration of the event loop only one connection goes on like this, however many want to.
"""

ENCODED: Final = 2
"""Times its size that a body may take on its way: chunks have sizes, extensions and trailers."""

BODIES: Final = 10
"""Largest bodies for which a worker has memory: those that arrive or are not answered yet."""

CLIENT_BODIES: Final = 2
"""The same of one client."""

LINGER: Final = 1.0
"""Seconds in which a client may read why it was refused: what it still sends is thrown away."""

_IDLE, _HEAD, _BODY = range(3)

_REASONS: Final = {
    HTTPStatus.BAD_REQUEST: "This is not a valid HTTP request.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time. Send it again.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "The body of the request, or what surrounds its chunks, is too large."
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: "The URL is too long. Send long texts with POST.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head of the request is too large.",
    HTTPStatus.TOO_MANY_REQUESTS: (
        "Your address has too many connections, or sends too much at once. Close some of them."
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "The service has too many connections, or has too much to read. Try again later."
    ),
}


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits; for all but these, see the settings of the same names.

    Attributes
    ----------
    max_own_connections
        Connections for which a worker has file descriptors.
    exempt
        Addresses and networks whose connections are not counted as those of one client.
    """

    max_connections: int
    max_own_connections: int
    max_client_connections: int
    max_head_size: int
    max_body_size: int
    head_timeout: float
    body_timeout: float
    exempt: tuple[str, ...] = ()


class OpenConnections:
    """The open connections of one worker, oldest first, by their clients.

    Those to other workers count, once :attr:`counts` is set.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._by_client: dict[str, dict[LimitedProtocol, None]] = {}
        self._count = 0
        self.counts: ConnectionCounts | None = None
        self.held = 0
        """Bytes of all bodies that have arrived and are not answered yet."""
        self._queue: dict[LimitedProtocol, None] = {}

    def add(self, connection: LimitedProtocol) -> HTTPStatus | None:
        """Add a connection; the status to refuse it with if there is no room.

        Room is made by closing the oldest connection without a whole request: of this client if it
        has too many, else of the one that has the most.
        """
        refusal = None
        client = network(connection.host)
        of_client = self._by_client.get(client, {})
        if self._is_client_full(connection.host, client, len(of_client)):
            if not _drop_oldest([of_client]):
                refusal = HTTPStatus.TOO_MANY_REQUESTS
        elif self._is_full():
            largest_first = sorted(self._by_client.values(), key=len, reverse=True)
            if not _drop_oldest(largest_first):
                refusal = HTTPStatus.SERVICE_UNAVAILABLE
        self._by_client.setdefault(client, {})[connection] = None
        self._change(client, 1)
        return refusal

    def remove(self, connection: LimitedProtocol) -> None:
        """Forget a connection that was closed."""
        client = network(connection.host)
        of_client = self._by_client.get(client, {})
        if connection in of_client:
            del of_client[connection]
            self._change(client, -1)
            if not of_client:
                del self._by_client[client]

    def refuse_body(self, connection: LimitedProtocol) -> HTTPStatus | None:
        """The status to refuse the rest of a body with, if there is no room for it."""
        if self.held > BODIES * self._limits.max_body_size:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if _is_in(connection.host, self._limits.exempt):
            return None
        of_client = self._by_client.get(network(connection.host), {})
        held = sum(each.held for each in of_client)
        too_much = held > CLIENT_BODIES * self._limits.max_body_size
        return HTTPStatus.TOO_MANY_REQUESTS if too_much else None

    def queue(self, connection: LimitedProtocol) -> None:
        """Let a connection go on reading when it has its turn."""
        if not self._queue:
            connection.loop.call_soon(self._give_turn)
        self._queue[connection] = None

    def _give_turn(self) -> None:
        connection = next(iter(self._queue))
        del self._queue[connection]
        if self._queue:
            connection.loop.call_soon(self._give_turn)
        connection.go_on()

    def _is_client_full(self, host: str, client: str, own: int) -> bool:
        count = own + (self.counts.elsewhere(client) if self.counts else 0)
        return count >= self._limits.max_client_connections and not _is_in(
            host, self._limits.exempt
        )

    def _is_full(self) -> bool:
        count = self._count + (self.counts.all_elsewhere if self.counts else 0)
        limits = self._limits
        return count >= limits.max_connections or self._count >= limits.max_own_connections

    def _change(self, client: str, change: int) -> None:
        self._count += change
        if self.counts is not None:
            self.counts.add(client, change)


class HeldFlow(FlowControl):
    """Nothing is read while it is held, whatever the requests before ask for."""

    is_held = False

    def hold(self, held: bool) -> None:
        """Stop or go on reading."""
        if held != self.is_held:
            self.is_held = held
            self.pause_reading() if held else self.resume_reading()

    def resume_reading(self) -> None:
        """Go on reading, unless it is held."""
        if not self.is_held:
            super().resume_reading()


class LimitedProtocol(CoalescingProtocol):
    """A connection that is closed when its client takes too long, sends too much or reads nothing.

    A timer runs only while a request is incomplete. Most arrive in one piece and need none.
    """

    config: ServerConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = self.config.limits
        self._connections = self.config.open_connections
        self._part = _IDLE
        self._size = 0
        """Bytes of the part that have arrived."""
        self._length = self._decoded = 0
        """Bytes of the body: those that were announced, and those that have arrived."""
        self._unread = b""
        """What has arrived and waits for its turn, behind a request or other connections."""
        self.held = 0
        """Bytes of bodies that have arrived and are not answered yet."""
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._refusal: HTTPStatus | None = None
        self._refused = False

    @property
    def is_waiting(self) -> bool:
        """Whether no whole request has arrived that is being answered."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        return self._part == _BODY and cycle.more_body and not self.pipeline

    @property
    def _sent(self) -> int:
        return cast(CoalescingTransport, self.transport).sent

    @property
    def host(self) -> str:
        """The address of the client or proxy."""
        return self.client[0] if self.client else ""

    # Called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and begin to wait for a head."""
        super().connection_made(transport)
        self.flow = self._flow = HeldFlow(self.transport)
        refusal = self._connections.add(self)
        self._began = self.loop.time()
        if refusal is not None:
            self._refuse(refusal)
            return
        self._timer = self.loop.call_later(self._limits.head_timeout, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.remove(self)
        self._hold(-self.held)
        self._stop_timer()
        if self._stuck is not None:
            self._stuck.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read until a request, or the rest of the data, has to wait for its turn."""
        data = self._unread + data
        start, end = 0, monotonic() + TURN  # the time of the loop stands still meanwhile
        while start < len(data) and not self.pipeline:
            if self._refused or self.transport.is_closing():
                data = b""  # it is thrown away
                break
            if start and monotonic() > end:
                self._connections.queue(self)
                break
            size = max(PIECE, self._length - self._decoded)
            self._read(data[start : start + size])
            start += size
        self._unread = data[start:]
        self._flow.hold(bool(self._unread or self.pipeline))

    def _read(self, data: bytes) -> None:
        """Read, and time what is incomplete afterwards."""
        part, decoded = self._part, self._decoded
        self._size += len(data)
        super().data_received(data)
        if self._part == _IDLE:
            self._stop_timer()
        elif self._refused or self.transport.is_closing():
            return
        elif self._part == _HEAD and self._size > self._limits.max_head_size:
            mostly_url = 2 * len(self.url) > self._size
            self._refuse(
                HTTPStatus.REQUEST_URI_TOO_LONG
                if mostly_url
                else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            )
        elif self._part == _BODY and self._size > self._most_encoded(self._decoded > decoded):
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._part == _BODY and (refusal := self._connections.refuse_body(self)):
            self._refuse(refusal)
        elif self._timer is None or part != self._part:
            self._stop_timer()
            self._began = self.loop.time()
            self._timer = self.loop.call_later(self._allowed(), self._expire)

    def pause_writing(self) -> None:
        """The client does not read its answer as fast as it is made."""
        super().pause_writing()
        self._time_reader()

    # Called by the parser

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._part = _HEAD

    def on_headers_complete(self) -> None:
        """Refuse a head that is too large, or answer its request."""
        self._refusal = self._refusal_of_head()
        if self._refusal is not None:
            raise ValueError(self._refusal.phrase)  # ends the parsing
        super().on_headers_complete()
        self._part, self._size = _BODY, 0
        for name, value in self.headers:
            if name == b"content-length":
                # The parser has checked it: one number, and no chunks.
                self._length = int(value)
                break
        self.headers = []  # for trailers, which nobody reads: the request has its own

    def on_body(self, body: bytes) -> None:
        """A part of a body has arrived."""
        super().on_body(body)
        self._decoded += len(body)
        self._hold(len(body))

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._part, self._size = _IDLE, 0
        self._length = self._decoded = 0

    # Called by Uvicorn

    def on_response_complete(self) -> None:
        """Go on to the next request, or see to it that the connection is really closed."""
        super().on_response_complete()
        self._hold(-self.held)
        if self.transport.is_closing():
            self._time_reader()
        elif self._flow.is_held and not self.pipeline:
            self.loop.call_soon(self.go_on)

    def send_400_response(self, msg: str) -> None:
        """Answer a head that cannot be parsed, or is too large."""
        self._refuse(self._refusal or HTTPStatus.BAD_REQUEST)

    def shutdown(self) -> None:
        """The service ends: what is half-sent has a moment to arrive."""
        if self.cycle is None or self.cycle.response_complete:
            self._close()
        elif self.is_waiting:
            self.loop.call_later(GRACE, self._give_up)
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after the last answer."""
        self._close()

    def _unsupported_upgrade_warning(self) -> None:
        """Clients may ask for other protocols; they are answered in this one."""

    def _refusal_of_head(self) -> HTTPStatus | None:
        if len(self.url) > URL:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        too_large = len(self.headers) > HEADERS
        # The last piece may hold the body, too, so only then the head has to be measured.
        if self._size > self._limits.max_head_size:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            too_large = too_large or size > self._limits.max_head_size
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_large else None

    def go_on(self) -> None:
        """Read what has arrived meanwhile."""
        if self.parser is not None:
            self.data_received(b"")

    def _most_encoded(self, by_chunks: bool) -> int:
        """Bytes of a body with all that may surround its chunks.

        They are in proportion to the chunks while there are some: each one takes time.
        """
        size = self._decoded if by_chunks else self._limits.max_body_size
        return ENCODED * size + self._limits.max_head_size

    def _hold(self, more: int) -> None:
        """Count bytes of a body that have arrived, or (below 0) are not needed any more."""
        self.held += more
        self._connections.held += more

    def _allowed(self) -> float:
        """Seconds that the part may take."""
        if self._part == _BODY:
            return self._limits.body_timeout + self._size / BYTES_PER_SECOND
        return self._limits.head_timeout

    def _expire(self) -> None:
        """Give up what is incomplete, unless that is not the client's fault, or its time grew."""
        left = self._began + self._allowed() - self.loop.time()
        if self.flow.read_paused or not self.is_waiting:
            left = self._allowed()
        if left > 0:
            self._timer = self.loop.call_later(left, self._expire)
        elif self._part == _IDLE and self.cycle is None:
            self._close()  # a browser that connected beforehand
        else:
            self._give_up()

    def _give_up(self) -> None:
        if not self.transport.is_closing() and self._part != _IDLE:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """Say why, and close the connection."""
        self._stop_timer()
        self._refused = True
        if not self.is_waiting:
            self.transport.abort()  # an earlier request of the connection is being answered
            return
        cycle = self.cycle
        if self._part == _BODY and cycle is not None:
            if cycle.response_started:
                self._close()  # it was answered before all of it had arrived
                return
            # The application learns that no more will come, and what it sends is not sent.
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(_encode_refusal(status, self.server_state.default_headers))
        self.flow.resume_reading()
        self.loop.call_later(LINGER, self._close)

    def drop(self) -> None:
        """Close the connection at once, to make room."""
        self._connections.remove(self)
        self.transport.abort()

    def _close(self) -> None:
        """Close the connection, also if the client never reads what was written."""
        if not self.transport.is_closing():
            self.transport.close()
            self._time_reader()

    def _time_reader(self) -> None:
        """Begin to look whether the client reads its answer."""
        if self._stuck is None:
            seconds = self._limits.body_timeout
            self._stuck = self.loop.call_later(seconds, self._check_reader, self._sent)

    def _check_reader(self, before: int) -> None:
        """Give up a client that reads more slowly than it has to send.

        `before` are the bytes that it had taken the last time.
        """
        self._stuck = None
        seconds = self._limits.body_timeout
        if self.transport.get_write_buffer_size() == 0:
            return
        if self._sent - before < seconds * BYTES_PER_SECOND:
            self.transport.abort()
        else:
            self._stuck = self.loop.call_later(seconds, self._check_reader, self._sent)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _drop_oldest(clients: Iterable[dict[LimitedProtocol, None]]) -> bool:
    """Close the oldest connection that waits, of the first client that has one."""
    for connections in clients:
        for connection in connections:
            if connection.is_waiting:
                connection.drop()
                return True
    return False


def _encode_refusal(status: HTTPStatus, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = msgspec.json.encode(
        {"status": status.value, "title": status.phrase, "detail": _REASONS[status]}
    )
    sent = [
        *headers,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    lines = [name + b": " + value + b"\r\n" for name, value in sent]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])


@lru_cache
def _is_in(host: str, networks: tuple[str, ...]) -> bool:
    """Whether an address is one of `networks`, or in one."""
    if "*" in networks:
        return True
    try:
        address = ipaddress.ip_address(host)
        return any(address in ipaddress.ip_network(each, strict=False) for each in networks)
    except ValueError:
        return host in networks

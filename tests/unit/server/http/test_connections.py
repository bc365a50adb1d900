"""Connections of clients that send slowly, too much or nothing, and read nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
import uvicorn

from opinionlens_server.http.connection_counts import ConnectionCounts
from opinionlens_server.http.connections import LimitedProtocol, OpenConnections
from opinionlens_server.workers import ServerConfig
from pipelines.config.settings import Serving
from tests.support import PATIENCE

LIMITS = Serving(head_timeout=0.4, body_timeout=0.4, max_head_size=5_000)
PATIENT = msgspec.structs.replace(LIMITS, head_timeout=PATIENCE, body_timeout=PATIENCE)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
END = b"\r\n0\r\n\r\n"
PIECES, PIECE = 200, bytes(100_000)
HUGE = 50_000_000


class App:
    """Answers with the length of the body, or with many bytes for ``/huge`` and ``/pieces``."""

    def __init__(self) -> None:
        self.disconnected = threading.Event()
        self.begun = threading.Semaphore(0)
        self.received = 0
        """Messages of all requests."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        size, more = 0, True
        while more:
            message = await receive()
            self.received += 1
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return
            size, more = size + len(message["body"]), message["more_body"]
        body = bytes(HUGE) if scope["path"] == "/huge" else str(size).encode()
        if scope["path"] == "/pieces":
            await self._send_pieces(send)
            return
        if scope["path"] == "/slow":
            self.begun.release()
            await asyncio.sleep(2)
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def _send_pieces(self, send: Any) -> None:
        length = (b"content-length", str(PIECES * len(PIECE)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        for number in range(PIECES):
            more = number + 1 < PIECES
            await send({"type": "http.response.body", "body": PIECE, "more_body": more})
            await asyncio.sleep(0)


@contextmanager
def served(limits: Serving = LIMITS, app: App | None = None) -> Iterator[tuple[str, int]]:
    """A server in a thread; its address."""
    config = ServerConfig(limits, {"version": 1, "disable_existing_loggers": False}, 1)
    config.app, config.factory = app or App(), False  # type: ignore[assignment]
    config.timeout_keep_alive = 1
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE)


def exchange(address: tuple[str, int], *pieces: bytes, pause: float = 0) -> bytes:
    """Send pieces with a pause before each but the first; what comes until the end."""
    with connect(address) as client:
        for number, piece in enumerate(pieces):
            time.sleep(pause if number else 0)
            with suppress(ConnectionError):
                client.sendall(piece)
        return read(client)


def read(client: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while piece := client.recv(65536):
            received += piece
    return received


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((GET,), 408),
        ((POST + b"half",), 408),
        ((POST, *[b"x"] * 20), 408),
        (((GET + b"\r\n"), b"GET / HT"), 200),  # and then 408
        ((GET + b"A: " + b"x" * 6_000 + b"\r\n\r\n",), 431),
        ((GET + b"A: ", *[b"x" * 2_000] * 3), 431),
        ((GET + b"A: " + b"x" * 50_000_000,), 431),
        ((GET + b"A: b\r\n" * 200 + b"\r\n",), 431),
        ((b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",), 414),
        ((b"\x16\x03\x01 hello\r\n\r\n",), 400),
        ((b"",), 0),
        ((POST + b"x" * 100,), 200),
        ((POST + b"x" * 50, b"x" * 50), 200),
    ],
)
def test_what_is_half_sent_or_too_large_is_answered_and_closed(
    pieces: tuple[bytes, ...], expected: int
) -> None:
    app = App()
    # What comes in time may come late on a busy machine.
    limits = PATIENT if pieces[0].startswith(POST) and expected == 200 else LIMITS
    with served(limits, app) as address:
        answer = exchange(address, *pieces, pause=0.1)
        assert status(answer) == expected, answer[:200]
        if expected >= 400:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"application/problem+json" in head
            assert msgspec.json.decode(body)["status"] == expected
        if pieces[0].startswith(POST) and expected == 408:
            assert app.disconnected.wait(PATIENCE)
        assert status(exchange(address, GET + b"Connection: close\r\n\r\n")) == 200


def test_a_slow_body_that_keeps_coming_is_read() -> None:
    size = 20_000
    head = POST.replace(b" 100", b" %d" % size)
    with served() as address:
        pieces = [head, *[b"x" * 2_000] * 10, b""]
        assert b"%d" % size in exchange(address, *pieces, pause=0.08)


def test_a_long_answer_is_no_reason_to_close() -> None:
    with served() as address:
        assert status(exchange(address, b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n")) == 200


def test_a_client_that_reads_nothing_is_given_up() -> None:
    with served() as address, connect(address) as client:
        client.sendall(b"GET /huge HTTP/1.1\r\n\r\n")
        time.sleep(2)
        assert len(read(client)) < HUGE


def test_a_client_that_reads_slowly_gets_all_of_an_answer_in_pieces() -> None:
    with served() as address, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        client.connect(address)
        client.sendall(b"GET /pieces HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = 0
        while piece := client.recv(1_000_000):
            received += len(piece)
            time.sleep(0.02)
        assert received > PIECES * len(PIECE)


@pytest.mark.parametrize("name", ["max_connections", "max_client_connections"])
def test_stalled_connections_make_room_for_others(name: str) -> None:
    limits = msgspec.structs.replace(LIMITS, head_timeout=60, body_timeout=60, **{name: 20})
    with served(limits) as address, ExitStack() as clients:
        stalled = []
        for number in range(60):
            client = clients.enter_context(connect(address))
            client.sendall((GET, POST + b"half", b"")[number % 3])
            stalled.append(client)
            if number % 10 == 0:
                assert status(exchange(address, GET + b"Connection: close\r\n\r\n")) == 200
        assert all(read(client) == b"" for client in stalled[:30])  # the oldest were closed
        stalled[-1].sendall(GET + b"\r\n")
        assert status(stalled[-1].recv(1000)) == 200


def test_answers_in_progress_make_no_room() -> None:
    limits = msgspec.structs.replace(LIMITS, max_client_connections=3)
    app = App()
    with served(limits, app) as address, ExitStack() as clients:
        busy = [clients.enter_context(connect(address)) for _ in range(3)]
        for client in busy:
            client.sendall(b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert app.begun.acquire(timeout=PATIENCE)
        assert status(exchange(address, GET + b"\r\n")) == 429
        assert {status(read(client)) for client in busy} == {200}


def test_a_trusted_proxy_is_not_one_client() -> None:
    limits = msgspec.structs.replace(
        LIMITS, max_client_connections=1, trusted_proxies=("127.0.0.0/8",)
    )
    with served(limits) as address, ExitStack() as clients:
        for _ in range(5):
            client = clients.enter_context(connect(address))
            client.sendall(b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert status(read(client)) == 200


def test_bodies_of_one_client_may_not_fill_the_memory() -> None:
    """Without their length in the head, nothing else knows beforehand what comes."""
    limits = msgspec.structs.replace(LIMITS, body_timeout=60, max_body_size=50_000)
    head = POST.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    half = head + b"C350\r\n" + b"x" * 40_000
    with served(limits) as address, ExitStack() as clients:
        for _ in range(2):
            clients.enter_context(connect(address)).sendall(half)
        time.sleep(1)
        assert status(exchange(address, half)) == 429
        assert status(exchange(address, GET + b"Connection: close\r\n\r\n")) == 200
    with served(limits) as address:
        for _ in range(5):  # what is answered is no longer held
            assert status(exchange(address, POST + b"x" * 100)) == 200
            assert status(exchange(address, head + b"9C40\r\n" + b"x" * 40_000 + END)) == 200


def test_workers_count_connections_together(tmp_path: Path) -> None:
    file = tmp_path / "connections"
    fork = multiprocessing.get_context("fork")
    counted, other = fork.Event(), fork.Process(target=lambda: _count_and_wait(file, counted))
    other.start()
    assert counted.wait(PATIENCE)
    counts = ConnectionCounts(file)
    assert (counts.elsewhere("10.0.0.1"), counts.elsewhere("10.0.0.2")) == (2, 0)
    assert counts.all_elsewhere == 3
    limits = msgspec.structs.replace(LIMITS, max_client_connections=2)
    config = ServerConfig(limits, {"version": 1, "disable_existing_loggers": False}, 1)
    config.open_connections.counts = counts
    connection = Mock(host="10.0.0.1", is_waiting=False)
    assert config.open_connections.add(connection) == 429  # type: ignore[arg-type]

    other.kill()
    other.join()
    replaced = fork.Process(target=ConnectionCounts, args=(file,))
    replaced.start()
    replaced.join()
    assert counts.all_elsewhere == 0


def _count_and_wait(file: Path, counted: Event) -> None:
    counts = ConnectionCounts(file)
    for client, change in (("10.0.0.1", 1), ("10.0.0.1", 1), ("10.0.0.3", 1)):
        counts.add(client, change)
    counts.add("10.0.0.3", 1)
    counts.add("10.0.0.3", -1)
    counted.set()
    time.sleep(60)


class Counting(App):
    """Counts the requests that it has been given, and the headers of each."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[list[tuple[bytes, bytes]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.headers.append(scope["headers"])
        await super().__call__(scope, receive, send)


@pytest.mark.parametrize(("size", "times"), [(3, 3_000), (9_993, 300)])
def test_pipelined_requests_are_answered_in_turn(size: int, times: int) -> None:
    app = Counting()
    post = POST.replace(b"100", b"%d" % size) + b"x" * size
    with served(PATIENT, app) as address, connect(address) as client:
        sender = threading.Thread(target=client.sendall, args=((GET + b"\r\n" + post) * times,))
        sender.start()
        received = b""
        while received.count(b"HTTP/1.1 200") < 2 * times or not received.endswith(b"3"):
            piece = client.recv(1 << 20)
            assert piece, received[-200:]
            received += piece
        sender.join()
    answers = [answer[-1:] for answer in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert answers == [b"0", b"3"] * times


def test_a_body_whose_length_is_known_is_parsed_as_it_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    on_body = LimitedProtocol.on_body
    monkeypatch.setattr(
        LimitedProtocol, "on_body", lambda it, body: (sizes.append(len(body)), on_body(it, body))
    )
    size = 2_000_000
    head = POST.replace(b" 100", b" %d" % size)
    with served(PATIENT) as address:
        answer = exchange(address, head + b"x" * size + GET + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"\r\n\r\n%d" % size in answer
    assert sum(sizes) == size
    assert len(sizes) < size / 10_000


def test_others_have_their_turn_between_tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application runs between the turns of the connection, as any other one does."""
    monkeypatch.setattr("opinionlens_server.http.connections.TURN", 0.0)
    app = Counting()
    head = POST.replace(b"Content-Length: 100", b"Connection: close\r\nTransfer-Encoding: chunked")
    chunks = 50_000
    with served(PATIENT, app) as address:
        answer = exchange(address, head + b"5\r\nabcde\r\n" * chunks + b"0\r\n\r\n")
    assert answer.endswith(b"\r\n%d" % (5 * chunks))
    assert app.received > 50


def test_connections_that_go_on_reading_take_turns() -> None:
    """One goes on in each iteration of the event loop, which looks after all others in between."""
    open_connections = OpenConnections(Mock())
    soon: list[Callable[[], None]] = []
    order: list[str] = []
    connections = {name: Mock() for name in "abc"}
    for name, connection in connections.items():
        connection.loop.call_soon = soon.append
        connection.go_on.side_effect = partial(order.append, name)
        open_connections.queue(connection)
    assert len(soon) == 1
    soon.pop()()
    open_connections.queue(connections["a"])
    while soon:
        soon.pop()()
        assert len(soon) <= 1
    assert order == ["a", "b", "c", "a"]


def test_pipelined_requests_of_a_client_that_reads_nothing_are_left_unread() -> None:
    limits = msgspec.structs.replace(PATIENT, body_timeout=1.0)
    with served(limits) as address, connect(address) as client:
        client.settimeout(5)
        with pytest.raises((TimeoutError, ConnectionError)):
            client.sendall((GET + b"\r\n") * 2_000_000)
        client.settimeout(PATIENCE)
        read(client)  # it was given up


def test_trailers_are_no_headers() -> None:
    app = Counting()
    chunked = POST.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    trailers = b"3\r\nabc\r\n0\r\n" + b"Host: evil\r\n" * 200 + b"\r\n"
    with served(PATIENT, app) as address:
        answer = exchange(address, chunked + trailers + GET + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2
    assert [[name for name, _ in headers] for headers in app.headers] == [
        [b"host", b"transfer-encoding"],
        [b"host", b"connection"],
    ]


def test_what_surrounds_chunks_is_limited() -> None:
    limits = msgspec.structs.replace(PATIENT, max_body_size=10_000)
    chunked = POST.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    with served(limits) as address:
        extension = exchange(address, chunked + b"3;" + b"a" * 3_000_000 + b"\r\nabc" + END)
        tiny = exchange(
            address,
            chunked.replace(b"Host", b"Connection: close\r\nHost"),
            b"1\r\na\r\n" * 1_000 + b"0\r\n\r\n",
        )
        tiny_and_many = exchange(address, chunked + b"1\r\na\r\n" * 5_000 + END)
    assert extension.startswith(b"HTTP/1.1 413")
    assert tiny_and_many.startswith(b"HTTP/1.1 413")
    assert tiny.endswith(b"\r\n1000")

"""What clients may send."""

from __future__ import annotations

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice
from multiprocessing.connection import Connection
from typing import Final
from urllib.parse import urlsplit

from tests.chaos.campaign import PREDICT, Attack, Target, connect, post

API: Final = "/api/v1/inference"
JSON: Final = {"Content-Type": "application/json"}
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
STALLED: Final = 400
HEAVY_SECONDS: Final = 5.0
NEWCOMERS: Final = (f"127.0.{10 + n // 250}.{1 + n % 250}" for n in count())
"""Addresses that were not used before."""
WORST: Final = ("😀" * 100_000, '"' * 100_000, "a. " * 33_333, "!?" * 50_000)
"""Texts that take the longest to explain."""
EXPLAINED: Final = [json.dumps({"text": text}).encode() for text in WORST]
BATCHES: Final = [json.dumps(["word " * 390] * 10_000).encode()]


def stalled_connections(victim: Target) -> None:
    """More half-sent requests than the workers may open files; then everybody gets in."""
    head = b"POST /api/v1/inference/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    halves = (b"", head, head + b"Content-Length: 100\r\n\r\n{")
    with ExitStack() as clients:
        for number in range(STALLED):
            client = clients.enter_context(_connect(victim, "127.0.0.3"))
            with suppress(OSError):
                client.sendall(halves[number % 3])
        for _ in range(20):
            connection = victim.connect("127.0.0.4", timeout=5)
            assert post(connection, PREDICT, {"text": "let me in"})[0] == 200
            connection.close()


def unread_answers(victim: Target) -> None:
    """Clients that ask for much and read nothing."""
    body = json.dumps(["a text"] * 10_000).encode()
    head = f"POST {API}/batch_predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as clients:
        for number in range(20):
            client = clients.enter_context(_connect(victim, f"127.0.1.{number}"))
            client.sendall(head.encode() + body)
        time.sleep(1)
        connection = victim.connect("127.0.0.4", timeout=5)
        assert post(connection, PREDICT, {"text": "let me in"})[0] == 200


def large_heads(victim: Target) -> None:
    """Heads of 20 MB, in one header and in many, are answered 431 or cut off."""
    for line in (b"A: " + b"x" * 20_000_000, b"A: b\r\n" * 3_000_000, b"A: b\r\n" * 200):
        with _connect(victim, "127.0.0.3") as client:
            with suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + line + b"\r\n\r\n")
            answer = b""
            with suppress(ConnectionError):
                answer = client.recv(1000)
            assert answer[:12] in (b"HTTP/1.1 431", b""), answer[:100]


def explanations(victim: Target) -> None:
    """Eight clients ask to explain the worst texts of 100,000 characters as often as they may."""
    _by_eight(victim.service.url, f"{API}/explain", EXPLAINED)


def batches(victim: Target) -> None:
    """Eight clients send 20 MB of short texts as often as they may."""
    _by_eight(victim.service.url, f"{API}/batch_predict", BATCHES)


def tiny_chunks(victim: Target) -> None:
    """Eight clients send 4 MB in chunks of five bytes; each takes as long as a large one."""
    body = json.dumps(["word " * 390] * 2_000).encode()
    parts = [body[at : at + 5] for at in range(0, len(body), 5)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
    headers = {"Transfer-Encoding": "chunked"}
    _by_eight(victim.service.url, f"{API}/batch_predict", [chunks], headers)


def explanations_elsewhere(victim: Target) -> None:
    """The same clients at a service that does nothing: what they cost this machine themselves."""
    with _idle_service() as url:
        _by_eight(url, f"{API}/explain", EXPLAINED)


def batches_elsewhere(victim: Target) -> None:
    """The same for batches."""
    with _idle_service() as url:
        _by_eight(url, f"{API}/batch_predict", BATCHES)


def bodies(victim: Target) -> None:
    """Bodies that are small, or cheap to send, and dear to read."""
    deep = b'{"text":' * 100_000
    wide = b"x" + b"," * 100_000 + b"\n" + b"a,b\n" * 1_000
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    form = b"text=" + b"%F0%9F%98%80" * 1_700_000
    fields = b"a=b&" * 4_000_000
    for what, path, headers, body in (
        ("JSON 100,000 levels deep", PREDICT, JSON, deep),
        ("JSON of 1,000 lists", f"{API}/batch_predict", JSON, b"[" * 1_000 + b"]" * 1_000),
        ("JSON of 10,000,000 lists", f"{API}/batch_predict", JSON, b"[" * 10_000_000),
        ("a text of 25 MB", PREDICT, JSON, b'{"text": "' + b"x" * 25_000_000 + b'"}'),
        ("a CSV of 100,000 columns", "/file", multipart, part + wide + b"\r\n--b--\r\n"),
        ("the same to download", "/file/download", multipart, part + wide + b"\r\n--b--\r\n"),
        ("1,000,000 parts", "/file", multipart, b"--b\r\n\r\n\r\n" * 1_000_000 + b"--b--\r\n"),
        ("a form of 20 MB for /", "/", FORM, form),
        ("a form of 20 MB for /sign-in", "/sign-in", FORM, form),
        ("4,000,000 fields for /theme", "/theme", FORM, fields),
        ("4,000,000 fields for /", "/", FORM, fields),
    ):
        status = victim.meet(what, partial(_send, victim, path, headers, body))
        assert 400 <= int(status) < 500, (path, status)


def explained_bombs(victim: Target) -> None:
    """The worst texts of 100,000 characters, one by one, and the largest batch."""
    for text in WORST:
        body = json.dumps({"text": text}).encode()
        what = f"explaining {len(text):,} characters of {text[:2]}"
        status = victim.meet(what, partial(_send, victim, f"{API}/explain", JSON, body))
        assert status == "200", (what, status)
    body = json.dumps(["word " * 390] * 10_000).encode()
    status = victim.meet(
        "a batch of 20 MB", partial(_send, victim, f"{API}/batch_predict", JSON, body)
    )
    assert status == "200", status


def unread_pipelines(victim: Target) -> None:
    """Requests that are sent ahead, of a client that reads no answer; and trailers."""

    get = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with _connect(victim, next(NEWCOMERS)) as client:
        client.settimeout(3)
        with suppress(OSError):
            client.sendall(get * 1_000_000)
    chunked = {"Transfer-Encoding": "chunked", **JSON}
    chunk = b'f\r\n{"text":"good"}\r\n0\r\n'
    for what, body, expected in (
        ("500,000 trailers", chunk + b"A: b\r\n" * 500_000 + b"\r\n", "200"),
        ("a chunk extension of 60 MB", b"f;" + b"x" * 60_000_000 + chunk[1:] + b"\r\n", "413"),
    ):
        status = victim.meet(what, partial(_send, victim, PREDICT, chunked, body))
        assert status == expected, (what, status)


def _send(victim: Target, path: str, headers: dict[str, str], body: bytes) -> str:
    """The status for a client that has sent nothing before: its rate is not limited."""
    return str(_status(victim, "POST", path, headers, body, next(NEWCOMERS)))


def odd_requests(victim: Target) -> None:
    """Requests that are not as one expects them; none is an error of the service."""
    admin = {"Authorization": f"Bearer {victim.service.token}", **JSON}
    models = "/api/v1/models"
    for method, path, headers, body in (
        ("POST", models, admin, b'{"model_name": "x", "model_version": 9223372036854775808}'),
        ("POST", models, admin, b'{"model_name": "x", "model_version": 1e400}'),
        ("POST", models, admin, json.dumps({"model_name": "x" * 300}).encode()),
        ("POST", models, admin, json.dumps({"model_name": "x", "alias": "y" * 300}).encode()),
        ("POST", models, admin, b'{"model_name": "a\\u0000b"}'),
        ("PUT", f"{models}/active", admin, json.dumps({"id": "x" * 300 + "-v1"}).encode()),
        ("PUT", f"{models}/active", admin, b'{"id": "../../etc/passwd"}'),
        ("GET", f"{models}/{'x' * 300}-v1", {}, b""),
        ("GET", f"{models}/a%00b", {}, b""),
        ("DELETE", f"{models}/{'x' * 300}", admin, b""),
        ("GET", "/static/a%00b", {}, b""),
        ("GET", f"/static/{'x' * 3_000}", {}, b""),
        ("GET", "/static/..%2f..%2fapp.py", {}, b""),
        ("GET", "/admin/link/%00", {}, b""),
        ("GET", f"{PREDICT}?text=%ff", {}, b""),
        ("GET", "/", {"Host": "127.0.0.1:x"}, b""),
        ("GET", "/", {"Host": "127.0.0.1:99999999999"}, b""),
        ("OPTIONS", "*", {}, b""),
        ("BREW", "/", {}, b""),
        ("POST", PREDICT, {**JSON, "Content-Length": "-1"}, b""),
        ("POST", PREDICT, {**JSON, "Content-Length": "9" * 30}, b""),
        ("POST", PREDICT, JSON, b'{"text": "\\ud800"}'),
        ("POST", PREDICT, JSON, b"\xff\xfe"),
    ):
        status = _status(victim, method, path, headers, body)
        assert 400 <= status < 500, (method, path[:50], body[:80], status)


def two_hosts(victim: Target) -> None:
    """The second Host header is refused."""
    with _connect(victim, "127.0.0.3") as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400")


def guessed_secrets(victim: Target) -> None:
    """After a few wrong secrets a client is told to wait."""
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [
        _status(victim, "GET", "/api/v1/models/registry", wrong, b"", "127.0.0.9") for _ in range(8)
    ]
    assert set(statuses) <= {401, 429}
    assert statuses[-1] == 429


@contextmanager
def _idle_service() -> Iterator[str]:
    """The URL of a process that reads what it is sent, and answers 200."""
    spawn = multiprocessing.get_context("spawn")
    found, sent = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_idle, args=(sent,), daemon=True)
    process.start()
    try:
        yield found.recv()
    finally:
        process.terminate()
        process.join()


def _idle(address: Connection) -> None:
    class Idle(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Idle)
    address.send(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


def _by_eight(
    url: str, path: str, bodies: Sequence[bytes], headers: Mapping[str, str] | None = None
) -> None:
    """Send bodies from eight addresses for a while; only too many of them are refused."""
    addresses = list(islice(NEWCOMERS, 8))
    deadline = time.monotonic() + HEAVY_SECONDS
    statuses: set[int] = set()

    def ask(number: int) -> None:
        connection = connect(url, addresses[number])
        while time.monotonic() < deadline:
            body = bodies[number % len(bodies)]
            connection.request("POST", path, body, JSON | dict(headers or {}))
            answer = connection.getresponse()
            answer.read()
            statuses.add(answer.status)
            time.sleep(0.2)
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses <= {200, 429}, statuses
    assert 200 in statuses


def _status(
    victim: Target,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    host: str = "127.0.0.5",
) -> int:
    """The status of the answer, which may come before all is sent."""
    lines = {"Host": "127.0.0.1", "Connection": "close"} | headers
    if "Transfer-Encoding" not in headers:
        lines.setdefault("Content-Length", str(len(body)))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    with _connect(victim, host) as client:
        with suppress(ConnectionError):
            for piece in _pieces(head.encode() + b"\r\n" + body):
                client.sendall(piece)
        answer = b""
        with suppress(ConnectionError):
            answer = client.recv(1000)
    assert answer, f"{method} {path[:50]}: the connection was closed without an answer"
    return int(answer.split(b" ", 2)[1])


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 1 << 20):
        yield data[start : start + (1 << 20)]


def _connect(victim: Target, host: str) -> socket.socket:
    address = urlsplit(victim.service.url)
    return socket.create_connection(
        (address.hostname, address.port or 0), timeout=20, source_address=(host, 0)
    )


CLIENTS: Final[dict[str, Attack]] = {
    "400 stalled connections": stalled_connections,
    "answers that nobody reads": unread_answers,
    "heads of 20 MB": large_heads,
    "eight clients explain emoji and quotes": explanations,
    "eight clients ask another service, for comparison": explanations_elsewhere,
    "eight clients send batches of 20 MB": batches,
    "eight clients send batches in tiny chunks": tiny_chunks,
    "eight clients send 20 MB elsewhere, for comparison": batches_elsewhere,
    "bodies that are dear to read": bodies,
    "texts that are dear to explain, one by one": explained_bombs,
    "requests sent ahead of answers, and trailers": unread_pipelines,
    "odd requests": odd_requests,
    "two Host headers": two_hosts,
    "guessed secrets": guessed_secrets,
}

"""Registries that are not there, or are something else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.config.settings import MLflow
from pipelines.errors import RegistryAuthError, RegistryUnavailableError, SettingsError
from pipelines.registry.client import Registry
from pipelines.registry.connection import Credentials, Server, set_mlflow_defaults
from tests.integration.services import free_port
from tests.support import PATIENCE


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """A server that gives everyone the same answer; with None it listens and says nothing."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            held = []
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                if answer is None:
                    held.append(connection)
                    continue
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)
            for connection in held:
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def registry(uri: str, **changes: object) -> Registry:
    return Registry(MLflow(registry_uri=uri, timeout=1.0, **changes))  # type: ignore[arg-type]


ANSWERS = {
    "a web page": http(b"<html>hello</html>", kind="text/html"),
    "a list": http(b"[1, 2]"),
    "wrong types": http(b'{"registered_models": 3, "model_versions": "x"}'),
    "unknown fields": http(b'{"registered_models": [{"name": {"a": 1}}]}'),
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
    "half an answer": http(b'{"registered_models": []}')[:-10],
    "not found": http(b"no such page", "404 Not Found", "text/plain"),
    "an error": http(b"oops", "500 Internal Server Error", "text/plain"),
    "an error page": http(b"<html>Bad Gateway</html>", "502 Bad Gateway", "text/html"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_a_server_that_talks_nonsense_is_unavailable(what: str):
    with answering(ANSWERS[what]) as uri:
        for ask in (lambda: registry(uri).models(), lambda: registry(uri).resolve("reviews")):
            with pytest.raises(RegistryUnavailableError, match=f"{uri} cannot be used"):
                ask()


def test_a_silent_server_is_given_up():
    with (
        answering(None) as uri,
        pytest.raises(RegistryUnavailableError, match=r"no answer within 1 seconds"),
    ):
        registry(uri).models()


def test_a_dead_server_is_named_without_the_password():
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RegistryUnavailableError, match="connection refused") as caught:
        registry(uri, registry_username="me", registry_password="s3cret").models()
    assert "s3cret" not in str(caught.value)


def test_an_unknown_host_is_named():
    with pytest.raises(RegistryUnavailableError, match="no such host"):
        registry("http://no-such-host.invalid").models()


@pytest.mark.parametrize(
    "uri", ["http://", "http://[::1", "http://a:b", "gopher://x", "localhost:5000", "./mlruns"]
)
def test_an_invalid_address_is_a_settings_error(uri: str):
    with pytest.raises(SettingsError, match=r"mlflow\.registry_uri.*have to be the address"):
        registry(uri)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_proxy_that_refuses_is_an_account_problem(status: str):
    with (
        answering(http(b"go away", status, "text/plain")) as uri,
        pytest.raises(RegistryAuthError, match="refused the user 'me'"),
    ):
        registry(uri, registry_username="me", registry_password="x").models()


def test_credentials_go_to_their_server_only():
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(http(b"{}"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Server(uri, Credentials("me", "s3cret"), 1.0).answering():
            Server(uri, Credentials("me", "s3cret"), 1.0).client().search_registered_models()
            Server(uri, Credentials(), 1.0).client().search_registered_models()
        thread.join(PATIENCE)

    assert b"Authorization: Basic bWU6czNjcmV0" in asked[0]
    assert b"Authorization" not in asked[1]


def test_mlflow_variables_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch):
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    set_mlflow_defaults(3.0)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    for timeout, seconds in ((2.5, "3"), (0.1, "1")):
        set_mlflow_defaults(timeout)
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == seconds

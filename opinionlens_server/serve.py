"""Starting the web service: listening socket, sign-in link, Uvicorn and its workers."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import uvicorn

from opinionlens_server.shared_state import OF_ONE_RUN, SharedState
from opinionlens_server.workers import ServerConfig, Workers, raise_file_limit
from pipelines.base_model.opening import FOLDERS
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Settings
from pipelines.errors import InputError
from pipelines.files import delete, temporary_folder
from pipelines.workflows.answering import answering_model

# The settings that are passed to the workers; they inherit the environment.
TOKEN_VARIABLE: Final = "OLENS_SERVING__ADMIN_TOKEN"
HOST_VARIABLE: Final = "OLENS_SERVING__HOST"
SESSION_VARIABLE: Final = "OLENS_SERVING__SESSION_SECRET"
FOLDER_VARIABLE: Final = "OLENS_SERVING__STATE_FOLDER"
METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def serve(
    settings: Settings,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    page: str = "",
) -> None:
    """Run the service until SIGTERM or Ctrl-C; options that are None come from the settings.

    `page` is what the printed link leads to, as a query: ``next=/label/reviews&name=ann``.

    Raises
    ------
    InputError
        If the address cannot be used.
    StorageError
        If the folder that the workers share cannot be used.
    StartError
        If no worker can start.
    """
    serving = settings.serving
    listening = listen(host or serving.host, serving.port if port is None else port)
    sockets = [listening]
    if serving.metrics_port:
        sockets.append(listen(host or serving.host, serving.metrics_port))
    workers = workers or serving.workers
    with _state_folder(settings) as folder, _metrics_folder(workers):
        # A folder that cannot be used is found out once, and not by each worker.
        shared = SharedState(folder)
        for name in OF_ONE_RUN:
            delete(folder / name)
        os.environ[FOLDER_VARIABLE] = str(folder)
        if host is not None:
            os.environ[HOST_VARIABLE] = host
        if not serving.session_secret:
            os.environ[SESSION_VARIABLE] = secrets.token_urlsafe(32)
        token = _make_token(settings, listening)
        link = f"/admin/link/{shared.make_link()}" if token else None
        if page:
            _announce_page(listening, link, page)
        else:
            _announce(settings, listening, token, link)
        _run(sockets, workers, settings, folder)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything else is started.

    Raises
    ------
    InputError
        If the address cannot be used, for example because the port is in use.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # "localhost" has two addresses, and all local programs can use IPv4.
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # With SO_REUSEADDR, two servers may bind an address, but only one may listen.
        listening.listen(2048)
    except OSError as error:
        raise InputError(_why_not(host, port, error)) from None
    listening.set_inheritable(True)
    return listening


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use. End the program that uses it, or choose another "
            "one: olens serve --port 0 takes a free one."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than you have. Choose one above 1023: --port 8000."
    return f"Cannot listen on {host}:{port}: {error.strerror or error}."


def _make_token(settings: Settings, listening: socket.socket) -> str | None:
    """An admin token for this run, if none is set and only this machine reaches the service."""
    if settings.serving.admin_token or settings.serving.admin_secret_hash:
        return None
    if not ipaddress.ip_address(listening.getsockname()[0]).is_loopback:
        _print(
            "Warning: No admin secret is set, so models cannot be managed over HTTP. To allow it, "
            "put a hash made by `olens config hash-secret` into serving.admin_secret_hash, or set "
            f"{TOKEN_VARIABLE}."
        )
        return None
    token = os.environ[TOKEN_VARIABLE] = secrets.token_urlsafe(24)
    return token


def _announce(
    settings: Settings, listening: socket.socket, token: str | None, link: str | None = None
) -> None:
    """Print the address, the active model, and how to manage models."""
    url = _url(listening)
    model = answering_model(ModelCache(settings.paths.models))
    _print(f"OpinionLens is at {url} (Ctrl-C ends it).")
    if model is None:
        _print(
            "Warning: The active model cannot be used. Activate another one with `olens models "
            "activate` or fetch one with `olens fetch NAME --activate`; this server loads it then."
        )
    else:
        base = " It comes with OpinionLens." if model.id in FOLDERS else ""
        _print(f"Model {model.id} answers.{base}")
    if link is not None:
        _print("To manage models, open this link; it works once, within 15 minutes:")
        _print(f"  {url}{link}")
    if token is not None:
        header = f'-H "Authorization: Bearer ${TOKEN_VARIABLE}"'
        _print("To manage models over HTTP, with a token for this run only:")
        _print(f"  export {TOKEN_VARIABLE}={token}")
        _print(f"  curl {header} {url}/api/v1/models/registry")


def _announce_page(listening: socket.socket, link: str | None, query: str) -> None:
    """Print the link to one page."""
    url = _url(listening)
    _print(f"OpinionLens is at {url} (Ctrl-C ends it).")
    if link is None:
        _print(f"Sign in, and open {url}{dict(parse_qsl(query))['next']}")
    else:
        _print("Open this link; it works once, within 15 minutes:")
        _print(f"  {url}{link}?{query}")


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def _state_folder(settings: Settings) -> Iterator[Path]:
    """The folder that the workers share."""
    if settings.serving.state_folder:
        yield Path(settings.serving.state_folder)
        return
    with temporary_folder("olens-serve-") as folder:
        yield folder


@contextmanager
def _metrics_folder(workers: int) -> Iterator[None]:
    """The folder in which several workers keep their metrics."""
    if workers == 1 or METRICS_VARIABLE in os.environ:
        yield
        return
    with temporary_folder("olens-metrics-") as folder:
        os.environ[METRICS_VARIABLE] = str(folder)
        yield


def _run(sockets: list[socket.socket], workers: int, settings: Settings, folder: Path) -> None:
    raise_file_limit()
    config = ServerConfig(settings.serving, _log_config(settings.log_level), workers, folder)
    # Uvicorn raises the signal that ended it again when it has finished.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if workers > 1:
            Workers(config, sockets=sockets).run()
        else:
            server = uvicorn.Server(config)
            server.run(sockets=sockets)
            if not server.started:
                sys.exit(1)
    except KeyboardInterrupt:
        # Ctrl-C is the usual way to end a server, and no error.
        return


def _log_config(level: str) -> dict[str, object]:
    """The log records of the server and of Uvicorn on standard error."""
    # Uvicorn logs every start and stop of a process as information.
    uvicorn_level = "DEBUG" if level == "debug" else "WARNING"
    levels = {"uvicorn": uvicorn_level, "opinionlens_server": level.upper()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "opinionlens_server.observability.logs.LogFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            name: {"handlers": ["stderr"], "level": level, "propagate": False}
            for name, level in levels.items()
        },
    }

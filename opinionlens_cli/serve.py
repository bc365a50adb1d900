"""``olens serve``: run the web service."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import typer

from opinionlens_cli.console import err, warn
from pipelines.errors import InputError

if TYPE_CHECKING:
    from pipelines.registry.entries import CachedModel
    from pipelines.settings import Settings

APP: Final = "opinionlens_server.app:create_app"
TOKEN_VARIABLE: Final = "OLENS_SERVING__ADMIN_TOKEN"
HOST_VARIABLE: Final = "OLENS_SERVING__HOST"
SESSION_VARIABLE: Final = "OLENS_SERVING__SESSION_SECRET"
FOLDER_VARIABLE: Final = "OLENS_SERVING__STATE_FOLDER"
PROTOCOL: Final = "opinionlens_server.protocol:TogetherProtocol"
METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

LINKS: Final = "links"
"""Folder of one-time links, beside what the workers share."""


def serve_cli(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.  [default: serving.host]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port; 0 takes a free one.  [default: serving.port]", min=0, max=65535),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes.  [default: serving.workers]", min=1)
    ] = None,
) -> None:
    """Serve the web page and the JSON API with the active model.

    Activating another model, here or with `olens models activate`, reaches all workers within two
    seconds. Ctrl-C ends the service after what is in flight.

    Example: olens serve --port 8080 --workers 2
    """
    from pipelines.settings import load_settings

    serve(load_settings(), host, port, workers)


def serve(
    settings: Settings,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C; what is None comes from the settings.

    Raises
    ------
    InputError
        If the address cannot be listened on.
    """
    serving = settings.serving
    listening = _listen(host or serving.host, serving.port if port is None else port)
    workers = workers or serving.workers
    with _shared_folder(settings) as folder, _metrics_folder(workers):
        _share(settings, host, folder)
        token = _make_token(settings, listening)
        link = _make_link(folder) if token else None
        _announce(settings, listening, token, link)
        _run(listening, workers, settings)


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything is started, so that a taken port is one clear sentence."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # "localhost" has two addresses, and everything here can reach the older kind.
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # Two servers that reuse an address may both bind it; only one may listen.
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
    """A one-time admin token for a server that only this machine reaches and that has none."""
    if settings.serving.admin_token or settings.serving.admin_secret_hash:
        return None
    if not ipaddress.ip_address(listening.getsockname()[0]).is_loopback:
        warn(
            "No admin secret is set, so models cannot be managed over HTTP. To allow it, put a "
            "hash made by `olens config hash-secret` into serving.admin_secret_hash, or set "
            f"{TOKEN_VARIABLE}."
        )
        return None
    token = secrets.token_urlsafe(24)
    # The environment is what the workers inherit.
    os.environ[TOKEN_VARIABLE] = token
    return token


def _make_link(folder: Path) -> str:
    """The path of a link that opens the admin page once.

    The service takes the file away when the link is used, so it works in one worker only.
    """
    token = secrets.token_urlsafe(24)
    links = folder / LINKS
    links.mkdir(exist_ok=True)
    (links / hashlib.sha256(token.encode()).hexdigest()).touch()
    return f"/admin/link/{token}"


def _announce(
    settings: Settings, listening: socket.socket, token: str | None, link: str | None = None
) -> None:
    """Say where the service is, which model answers, and how to manage models."""
    from pipelines.inference.base import BASE, answering_model
    from pipelines.registry.cache import ModelCache

    url = _url(listening)
    model = answering_model(ModelCache(settings.paths.models))
    _print(f"OpinionLens is at {url} (Ctrl-C ends it).")
    if model is None:
        warn(
            "The active model cannot be used. Activate another one with `olens models activate` or "
            "fetch one with `olens fetch NAME --activate`; this server takes it up by itself."
        )
    else:
        came_with = " It comes with OpinionLens." if model.id == BASE else ""
        _print(f"Model {model.id} answers.{came_with}")
    if link is not None:
        _print("To manage models, open this link; it works once, within 15 minutes:")
        _print(f"  {url}{link}")
    if token is not None:
        _print("To manage models over HTTP, with a token for this run only:")
        _print(f"  export {TOKEN_VARIABLE}={token}")
        _print(f"  {_sample(url, model)}")


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _sample(url: str, model: CachedModel | None) -> str:
    from pipelines.inference.base import BASE

    header = f'-H "Authorization: Bearer ${TOKEN_VARIABLE}"'
    if model is None or model.id == BASE:
        return f"curl {header} {url}/api/v1/models/registry"
    body = f'-H "Content-Type: application/json" -d \'{{"id": "{model.id}"}}\''
    return f"curl -X PUT {header} {body} {url}/api/v1/models/active"


def _print(line: str) -> None:
    # Plain text on standard error: lines to copy must not be wrapped or coloured.
    err.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _shared_folder(settings: Settings) -> Iterator[Path]:
    """Where the workers keep what they have to know together."""
    if settings.serving.state_folder:
        yield Path(settings.serving.state_folder)
        return
    with TemporaryDirectory(prefix="olens-serve-") as folder:
        yield Path(folder)


def _share(settings: Settings, host: str | None, folder: Path) -> None:
    """Tell the workers what is decided for all of them; the environment is what they inherit."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[FOLDER_VARIABLE] = str(folder)
    if host is not None:
        os.environ[HOST_VARIABLE] = host
    if not settings.serving.session_secret:
        os.environ[SESSION_VARIABLE] = secrets.token_urlsafe(32)


@contextmanager
def _metrics_folder(workers: int) -> Iterator[None]:
    """Where several workers keep their metrics, so that each can tell those of all."""
    if workers == 1 or METRICS_VARIABLE in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="olens-metrics-") as folder:
        # The environment is what the workers inherit.
        os.environ[METRICS_VARIABLE] = folder
        yield


def _run(listening: socket.socket, workers: int, settings: Settings) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    proxies = list(settings.serving.trusted_proxies)
    config = uvicorn.Config(
        APP,
        factory=True,
        http=PROTOCOL,
        workers=workers,
        log_config=_log_config(settings.log_level),
        # It would hold the texts of GET requests; the application logs requests itself.
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_graceful_shutdown=30,
    )
    # Uvicorn raises the signal that ended it again when it has finished.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if workers > 1:
            Multiprocess(config, sockets=[listening]).run()
        else:
            server = uvicorn.Server(config)
            server.run(sockets=[listening])
            if not server.started:
                sys.exit(1)
    except KeyboardInterrupt:
        # Ctrl-C is how one ends a server; that is no error.
        return


def _log_config(level: str) -> dict[str, object]:
    """Our messages and those of Uvicorn on standard error."""
    # Uvicorn tells every start and stop of a process as information; we say what matters.
    uvicorn_level = "DEBUG" if level == "debug" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "opinionlens_server.logs.LogFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": uvicorn_level, "propagate": False},
            "opinionlens_server": {
                "handlers": ["stderr"],
                "level": level.upper(),
                "propagate": False,
            },
        },
    }

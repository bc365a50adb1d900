"""PostgreSQL and an MLflow server with basic authentication, as processes of the test.

Both listen on a free port of 127.0.0.1, keep everything in a temporary folder and are ended by
their own process group. `registry_server` is what a test usually wants.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support import PATIENCE, program, require

POSTGRES_FOLDERS = "usr/lib/postgresql/*/bin"


@dataclass(frozen=True)
class RegistryServer:
    """A running MLflow server and the account that may do everything on it."""

    uri: str
    username: str
    password: str
    folder: Path


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL server."""

    port: int
    socket: Path
    """The folder of its socket, which is this machine's way in besides 127.0.0.1."""
    superuser: str

    @property
    def environment(self) -> dict[str, str]:
        """For PostgreSQL's own programs, as the superuser."""
        return {"PGHOST": str(self.socket), "PGPORT": str(self.port), "PGUSER": self.superuser}


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, below those that the system gives to clients."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server with an empty database; gives its SQLAlchemy URI."""
    with postgres_server("olens", "--auth=trust") as server:
        yield f"postgresql+psycopg2://olens@127.0.0.1:{server.port}/postgres"


@contextmanager
def postgres_server(superuser: str, *options: str) -> Iterator[PostgresServer]:
    """A PostgreSQL server; `options` are those of initdb."""
    initdb = program("initdb", POSTGRES_FOLDERS)
    server = program("postgres", POSTGRES_FOLDERS)
    folder = Path(tempfile.mkdtemp(prefix="olens-postgres-"))
    as_user = _unprivileged(folder)
    data, port = folder / "data", free_port()
    try:
        subprocess.run(
            [*as_user, str(initdb), "-D", str(data), "-U", superuser, "--no-sync", *options],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        command = [str(server), "-D", str(data), "-p", str(port), "-h", "127.0.0.1"]
        command += ["-k", str(folder), "-c", "fsync=off", "-c", "full_page_writes=off"]
        ready = partial(_accepts_queries, f"host={folder} port={port} user={superuser}")
        # SIGINT is PostgreSQL's fast shutdown.
        with running([*as_user, *command], folder, ready, stop=signal.SIGINT):
            yield PostgresServer(port, folder, superuser)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mlflow_server(folder: Path, backend_uri: str) -> Iterator[RegistryServer]:
    """An MLflow server that asks for a name and a password and keeps artifacts in `folder`."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    account = RegistryServer(uri, "admin", secrets.token_urlsafe(12), folder)
    config = folder / "basic_auth.ini"
    config.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder}/auth.db\n"
        f"admin_username = {account.username}\n"
        f"admin_password = {account.password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 600\n"  # hashing the password takes longer than most requests
    )
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", backend_uri, "--artifacts-destination", f"{folder}/files"]
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with running(command, folder, lambda: answers(f"{uri}/health"), environment):
        yield account


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """An MLflow server on PostgreSQL; shared by the tests of a session, as it starts slowly."""
    with (
        postgres() as database,
        mlflow_server(tmp_path_factory.mktemp("registry"), database) as server,
    ):
        yield server


def _unprivileged(folder: Path) -> list[str]:
    """How to start PostgreSQL, which refuses to run as root."""
    if os.geteuid() != 0:
        return []
    import pwd

    setpriv = program("setpriv")
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    user = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    return [str(setpriv), *user, "--"]


@contextmanager
def running(
    command: Sequence[str],
    folder: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a process group of its own until the block ends."""
    log_path = Path(tempfile.mkstemp(prefix="olens-", suffix=".log")[1])
    try:
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_until_ready(process, ready, log_path)
            yield process
        finally:
            _end(process, stop)
    finally:
        log_path.unlink()


def _wait_until_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            end = log.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"{process.args!r} did not start:\n{end}")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    """End the process and what it started: its group has its own ID."""
    for number in (stop, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    process.wait(PATIENCE)


def _accepts_queries(address: str) -> bool:
    """PostgreSQL listens before it answers."""
    try:
        import psycopg2
    except ImportError:
        require(False, "psycopg2 is not installed")
    try:
        psycopg2.connect(address, dbname="postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False

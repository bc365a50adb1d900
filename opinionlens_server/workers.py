"""The processes that serve: what Uvicorn is told, and what becomes of workers that end."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
import threading
from collections import defaultdict
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from opinionlens_server.backoff import Backoff
from opinionlens_server.http.connection_counts import ConnectionCounts
from opinionlens_server.http.connections import ConnectionLimits, OpenConnections
from opinionlens_server.shared_state import CONNECTIONS
from pipelines.config.settings import Serving
from pipelines.errors import OpinionLensError, StartError

APP: Final = "opinionlens_server.app:create_app"
PROTOCOL: Final = "opinionlens_server.http.connections:LimitedProtocol"

GRACEFUL_SECONDS: Final = 30
"""Time that answers in progress have when the service ends."""

SWITCH_SECONDS: Final = 0.0001
"""How long a thread that computes in Python keeps the event loop waiting."""

OWN_FILES: Final = 64
"""Files that a worker opens besides its connections, at most."""

ATTEMPTS: Final = 5
"""Starts of each worker that may fail while none serves, if some have served before; else one."""

logger = logging.getLogger(__name__)


class ServerConfig(uvicorn.Config):
    """What Uvicorn is told; it goes to every worker.

    Parameters
    ----------
    serving : Serving
    log_config : dict
        Of :mod:`logging.config`.
    workers : int
    folder : Path, optional
        Where several workers count connections together.
    """

    def __init__(
        self,
        serving: Serving,
        log_config: dict[str, object],
        workers: int,
        folder: Path | None = None,
    ) -> None:
        proxies = list(serving.trusted_proxies)
        super().__init__(
            APP,
            factory=True,
            http=PROTOCOL,
            ws="none",
            workers=workers,
            log_config=log_config,
            # It would hold the texts of GET requests; the application logs requests itself.
            access_log=False,
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            # A busy machine starts workers slowly. One that is killed meanwhile begins again.
            timeout_worker_healthcheck=60,
        )
        self.limits = ConnectionLimits(
            max_connections=serving.max_connections,
            max_own_connections=_most_connections(),
            max_client_connections=serving.max_client_connections,
            max_head_size=serving.max_head_size,
            max_body_size=serving.max_body_size,
            head_timeout=serving.head_timeout,
            body_timeout=serving.body_timeout,
            exempt=serving.trusted_proxies,
        )
        self.open_connections = OpenConnections(self.limits)
        self._folder = folder

    def load(self) -> None:
        """Make the application, in the worker; without it, the worker ends with a message."""
        sys.setswitchinterval(SWITCH_SECONDS)
        if (parent := multiprocessing.parent_process()) is None:
            super().load()
        else:
            threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
            try:
                if self._folder is not None:
                    self.open_connections.counts = ConnectionCounts(self._folder / CONNECTIONS)
                super().load()
            except OpinionLensError as error:
                logger.error("A worker cannot start: %s", error)
                sys.exit(STARTUP_FAILURE)
        # All requests would wait while garbage is looked for among modules and routes.
        gc.collect()
        gc.freeze()


class Workers(Multiprocess):
    """Uvicorn's supervisor, which does not go on replacing workers that cannot start."""

    def __init__(self, config: ServerConfig, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._serving: set[Process] = set()
        """Workers that have begun to serve."""
        self._waiting: set[int] = set()
        """Places in the list of workers whose next start is not due yet."""
        self._pauses: defaultdict[int, Backoff] = defaultdict(Backoff)
        self._has_served = False
        self._failures = 0
        """Failed starts since a worker has begun to serve."""
        self._failure = ""

    def run(self) -> None:
        """Run until a signal.

        Raises
        ------
        StartError
            If no worker can start.
        """
        super().run()
        if self._failure:
            raise StartError(f"The service has ended, since no worker can start: {self._failure}.")

    def terminate_all(self) -> None:
        """End the workers; from now on, connecting is refused instead of being kept waiting."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended; give up when none can start."""
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if place in self._waiting:
                if self._pauses[place].is_due:
                    self._start(place)
                continue
            serves = self._ask(worker)
            if serves is None:
                worker.kill()  # it may hang
                worker.join()
                self._replace(place, worker)
            elif serves and worker not in self._serving:
                logger.info("Worker %s serves.", worker.pid)
                self._serving.add(worker)
                self._pauses[place].reset()
                self._has_served, self._failures = True, 0

    def _ask(self, worker: Process) -> bool | None:
        """Whether a worker serves already; None if it has ended or does not answer.

        Uvicorn's own question waits for its whole time limit if the worker ends meanwhile.
        """
        answers, ended = worker.parent_conn, worker.process.sentinel
        try:
            answers.send(b"ping")
            ready = wait([answers, ended], self.config.timeout_worker_healthcheck)
            return bool(answers.recv()) if answers in ready else None
        except (OSError, EOFError):
            return None

    def _replace(self, place: int, worker: Process) -> None:
        code = worker.exitcode or 0
        ended = (
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        if worker in self._serving:
            self._serving.discard(worker)
            new = self._start(place)
            logger.warning("Worker %s %s; worker %s replaces it.", worker.pid, ended, new.pid)
            return
        self._pauses[place].fail()
        self._failures += 1
        attempts = len(self.processes) * (ATTEMPTS if self._has_served else 1)
        if not self._serving and self._failures >= attempts:
            self._failure = f"the last one {ended}"
            self.should_exit.set()
            return
        self._waiting.add(place)
        if self._has_served:
            logger.error("Worker %s %s before it served. It is tried again.", worker.pid, ended)

    def _start(self, place: int) -> Process:
        self._waiting.discard(place)
        self.processes[place] = worker = Process(self.config, self.sockets)
        worker.start()
        return worker


def raise_file_limit() -> None:
    """Let this process, and the workers that it starts, open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _most_connections() -> int:
    """Connections for which a worker has file descriptors."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 30 if files == resource.RLIM_INFINITY else max(files - OWN_FILES, files // 4)


def _end_with(supervisor: int) -> None:
    """End this worker when its supervisor has ended, even by SIGKILL: it would hold the port."""
    wait([supervisor])
    os.kill(os.getpid(), signal.SIGTERM)

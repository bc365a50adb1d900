"""Kills, switches, full disks and bad ends."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from pipelines.cache.model_cache import ModelCache
from pipelines.labelling.store import LabelStore
from tests.chaos.campaign import (
    MARGINS,
    PREDICT,
    Attack,
    Target,
    is_consistent,
    post,
)
from tests.disks import small_disk
from tests.serving import Service, environment, install_linear, serve, serve_command
from tests.support import PATIENCE, wait_for

BROKEN: Final = """
import socket
from opinionlens_server.workers import ServerConfig, Workers
from pipelines.config.settings import Serving
config = ServerConfig(Serving(), {"version": 1}, 2)
config.app = "nowhere:app"
Workers(config, [socket.create_server(("127.0.0.1", 0))]).run()
"""

END_SECONDS: Final = 15.0
"""Within which a service ends that nobody asks for anything sensible."""


def switches(victim: Target) -> None:
    """The model is switched again and again, and comes back."""
    for number in range(8):
        victim.cache.activate(f"reviews-v{2 - number % 2}")
        time.sleep(0.2)
    victim.cache.activate("reviews-v1")
    wait_for(lambda: _models(victim.service) == {"reviews-v1"})


def killed_workers(victim: Target) -> None:
    """A worker is killed, and another one takes its place."""
    serving = _serving(victim.service)
    os.kill(random.choice(serving), signal.SIGKILL)
    wait_for(lambda: len(_serving(victim.service)) == 2 and _serving(victim.service) != serving)
    wait_for(lambda: _models(victim.service) == {"reviews-v1"})


def killed_activations(victim: Target) -> None:
    """Installing and activating is killed at any moment; the cache can be used all the same."""
    for _ in range(10):
        child = multiprocessing.get_context("fork").Process(
            target=_install_and_activate, args=(victim.cache,)
        )
        child.start()
        time.sleep(random.uniform(0, 0.05))
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        active = victim.cache.active()
        assert active is not None
        assert active.id in MARGINS
    victim.cache.activate("reviews-v1")
    wait_for(lambda: _models(victim.service) == {"reviews-v1"})


def full_temporary_folder(victim: Target) -> None:
    """The disk of TMPDIR is full: verdicts, metrics and a new worker work all the same."""
    with _project() as root, small_disk(root / "tmp", "4m") as tmp:
        with serve(root, "--workers", "2", env={"TMPDIR": str(tmp)}) as service:
            wait_for(lambda: len(_serving(service)) == 2)
            _fill(tmp)
            for _ in range(100):
                assert _models(service, 1) == {"reviews-v1"}
            connection = _connect(service)
            connection.request("GET", "/metrics")
            metrics = connection.getresponse().read()
            assert b"http_requests_total" in metrics, metrics[:500]
            before = _serving(service)
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda: len(_serving(service)) == 2 and _serving(service) != before)
            wait_for(lambda: _models(service, 40) == {"reviews-v1"})
        log = service.log.read_text()
        assert "SIGBUS" not in log, log


def workers_that_cannot_start(victim: Target) -> None:
    """They are not tried for ever: a message, an exit code, and the port is free."""
    with _project() as root, small_disk(root / "full", "256k") as full:
        _fill(full)
        for state in (full, root / "file" / "no folder"):
            (root / "file").touch()
            env = environment(root, {"OLENS_SERVING__STATE_FOLDER": str(state)})
            env["OLENS_SERVING__RATE_LIMIT"] = "100"
            ended = subprocess.run(
                serve_command("--workers", "2"),
                env=env,
                cwd=root,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert ended.returncode == 1, ended.stderr
            assert "Traceback" not in ended.stderr, ended.stderr
            assert ended.stderr.count("Error:") == 1, ended.stderr
        broken = subprocess.run(
            [sys.executable, "-c", BROKEN],
            env=environment(root),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "StartError: The service has ended" in broken.stderr, broken.stderr


def an_end_with_half_sent_requests(victim: Target) -> None:
    """SIGTERM: connecting is refused at once, and nobody waits for half-sent requests."""
    with _project() as root, serve(root, "--workers", "2") as service:
        wait_for(lambda: len(_serving(service)) == 2)
        head = b"POST /api/v1/inference/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        address = _address(service)
        halves = [socket.create_connection(address) for _ in range(8)]
        for number, client in enumerate(halves):
            client.sendall((head, head + b"Content-Length: 99\r\n\r\n{")[number % 2])
        time.sleep(0.5)
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: _is_closed(address), seconds=10)
        assert service.process.wait(timeout=PATIENCE) == 0
        assert time.monotonic() - began < END_SECONDS
        for client in halves:
            client.close()


def a_killed_supervisor(victim: Target) -> None:
    """Workers without their supervisor end, and leave the port."""
    with _project() as root, serve(root, "--workers", "2") as service:
        wait_for(lambda: len(_serving(service)) == 2)
        orphans = _serving(service)
        service.process.kill()
        service.process.wait()
        wait_for(lambda: not any(map(_runs, orphans)), seconds=END_SECONDS)
        assert _is_closed(_address(service))


def killed_labelling(victim: Target) -> None:
    """Workers are killed, 20 times, while two people label: no acknowledged label is lost."""
    with _project() as root, serve(root, "--workers", "2") as service:
        ended = threading.Event()
        people = [Annotator(service, name, ended) for name in ("ann", "bob")]
        try:
            for _ in range(20):
                both = wait_for(lambda: len(found := _serving(service)) == 2 and found)
                time.sleep(random.uniform(0, 1))
                killed = random.choice(both)
                os.kill(killed, signal.SIGKILL)
                wait_for(lambda killed=killed: not _runs(killed))
        finally:
            ended.set()
            for each in people:
                each.join()
        store = LabelStore(f"sqlite:///{root}/labels/labels.db")
        stored = {(label.annotator, label.text) for label in store.labels(store.project("pile"))}
    for each in people:
        assert each.failure is None, each.failure
        assert len(each.told) > 20, each.told
        assert {(each.name, text) for text in each.told} <= stored


class Annotator(threading.Thread):
    """Labels text after text, as a browser without JavaScript; `told` are those acknowledged."""

    def __init__(self, service: Service, name: str, ended: threading.Event) -> None:
        super().__init__(name=name)
        self._ended = ended
        self._client = httpx.Client(base_url=service.url, timeout=60, follow_redirects=True)
        self.told: list[int] = []
        self.failure: Exception | None = None
        self._client.post("/sign-in", data={"secret": service.token})
        rows = "\n".join(f"text number {number}" for number in range(2_000))
        form = {"name": "pile", "classes": "a,b,c"}
        self._client.post("/label", data=form, files={"file": ("pile.csv", f"text\n{rows}")})
        self._client.post("/label/name", data={"name": name, "project": "pile"})
        self.start()

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                with suppress(httpx.TransportError):  # its worker was killed
                    self._label_one()
        except Exception as error:
            self.failure = error

    def _label_one(self) -> None:
        page = self._client.get("/label/pile").raise_for_status().text
        text = int(re.findall(r'name="text" value="(\d+)"', page)[0])
        form = {"text": text, "answer": random.choice("abc")}
        answer = self._client.post("/label/pile", data=form, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        self.told.append(text)


@contextmanager
def _project() -> Iterator[Path]:
    """A project of an attack's own, with a model that answers."""
    with tempfile.TemporaryDirectory(prefix="olens-chaos-") as folder:
        install_linear(Path(folder) / "models", 1, MARGINS["reviews-v1"])
        ModelCache(Path(folder) / "models").activate("reviews-v1")
        yield Path(folder)


def _install_and_activate(cache: ModelCache) -> None:
    install_linear(cache.folder, 2, MARGINS["reviews-v2"])
    for number in range(100):
        cache.activate(f"reviews-v{1 + number % 2}")


def _fill(folder: Path) -> None:
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def _serving(service: Service) -> list[int]:
    """The workers of which the supervisor knows that they serve."""
    told = re.findall(r"Worker (\d+) serves", service.log.read_text())
    return [int(pid) for pid in told if _runs(int(pid))]


def _models(service: Service, times: int = 10) -> set[str]:
    """The models that answer over connections of their own."""
    found = set()
    for _ in range(times):
        with closing(_connect(service)) as connection:
            status, answer = post(connection, PREDICT, {"text": "any"})
        assert status == 200, answer
        assert is_consistent(answer), answer
        found.add(str(answer["model"]))  # type: ignore[index]
    return found


def _connect(service: Service):  # type: ignore[no-untyped-def]
    return Target(service, Path()).connect()


def _address(service: Service) -> tuple[str, int]:
    address = urlsplit(service.url)
    return address.hostname or "", address.port or 0


def _is_closed(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return True
    return False


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


MOMENTS: Final[dict[str, Attack]] = {
    "switches of the model": switches,
    "kill -9 of a worker": killed_workers,
    "kill -9 of installing and activating": killed_activations,
    "a full disk of TMPDIR": full_temporary_folder,
    "workers that cannot start": workers_that_cannot_start,
    "SIGTERM with half-sent requests": an_end_with_half_sent_requests,
    "kill -9 of the supervisor": a_killed_supervisor,
    "kill -9 of workers while two people label": killed_labelling,
}

"""Carrying out attacks while other clients go on asking, and what is measured meanwhile."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.cache.model_cache import ModelCache
from tests.serving import Service, install_linear, serve

PREDICT = "/api/v1/inference/predict"
MARGINS = {"reviews-v1": 1.0, "reviews-v2": -2.0}
OTHERS = "127.0.0.2"
"""The address of clients that mean no harm."""

HARMLESS = 2
"""Connections of theirs."""

MOST_MEGABYTES = 300
"""That the service may need more than before, for one request."""

MOST_TOGETHER = 500
"""The same for a whole attack: several of its requests may be there at a time."""

MOST_SECONDS = 1.0
"""Of a processor, for one bomb: other programs of the machine do not count."""


@dataclass
class Bomb:
    """What a small thing that stands for a large one did to the processes that met it."""

    name: str
    seconds: float
    megabytes: float
    answer: str


@dataclass
class Target:
    """A service with two workers that may open few files, and its folder."""

    service: Service
    root: Path
    bombs: list[Bomb] = field(default_factory=list)

    @property
    def cache(self) -> ModelCache:
        return ModelCache(self.root / "models")

    def connect(self, host: str = "127.0.0.1", timeout: float = 30) -> HTTPConnection:
        """A connection from an address of this machine."""
        return connect(self.service.url, host, timeout)

    def meet(self, name: str, act: Callable[[], str], pids: Iterable[int] = ()) -> str:
        """Let the service, or the processes `pids`, meet a bomb; what `act` answers.

        Raises
        ------
        AssertionError
            If it took too much of a processor or of memory.
        """
        met = list(pids) or workers(self.service.process.pid)
        before = {pid: _processor_seconds(pid) for pid in met}
        with Memory(met) as memory:
            answer = act()
        seconds = max(_processor_seconds(pid) - used for pid, used in before.items())
        self.bombs.append(Bomb(name, seconds, memory.megabytes, answer))
        assert seconds <= MOST_SECONDS, f"{name} took {seconds:.1f} s of a processor"
        assert memory.megabytes <= MOST_MEGABYTES, f"{name} took {memory.megabytes:.0f} MB"
        return answer


def connect(url: str, host: str, timeout: float = 30) -> HTTPConnection:
    """A connection to the service at `url` from the address `host` of this machine."""
    address = urlsplit(url)
    return HTTPConnection(
        address.hostname or "", address.port, timeout=timeout, source_address=(host, 0)
    )


Attack = Callable[[Target], None]
"""Raises an AssertionError if it did harm."""


@dataclass
class Outcome:
    """What came of one attack."""

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    megabytes: float | None = None
    p99: float | None = None


def run(attacks: Mapping[str, Attack], victim: Target, rounds: int) -> Iterator[Outcome]:
    """Carry out each attack `rounds` times; all of them meet the same service."""
    yield _quiet(victim)
    for name, attack in attacks.items():
        yield _carry_out(name, attack, victim, rounds)


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """A service to attack."""
    for version, margin in enumerate(MARGINS.values(), start=1):
        install_linear(folder / "models", version, margin)
    ModelCache(folder / "models").activate("reviews-v1")
    env = {
        "OLENS_SERVING__RATE_LIMIT": "100",
        "OLENS_SERVING__HEAD_TIMEOUT": "2",
        "OLENS_SERVING__BODY_TIMEOUT": "2",
    }
    with serve(folder, "--workers", "2", env=env, files=128) as service:
        time.sleep(3)  # what workers load after their start
        yield Target(service, folder)


def _quiet(victim: Target) -> Outcome:
    with Others(victim) as others:
        time.sleep(3)
    return Outcome("nothing, for comparison", 1, others.failures, 3.0, None, others.p99)


def _carry_out(name: str, attack: Attack, victim: Target, rounds: int) -> Outcome:
    outcome = Outcome(name)
    began = time.monotonic()
    with Others(victim) as others, Memory(workers(victim.service.process.pid)) as memory:
        for _ in range(rounds):
            outcome.tried += 1
            try:
                attack(victim)
            except pytest.skip.Exception as reason:
                outcome.name += f" (left out: {reason})"
                break
            except Exception as error:
                outcome.failures.append(f"{name}: {type(error).__name__}: {error}"[:2000])
    outcome.failures += others.failures[:3]
    outcome.seconds = (time.monotonic() - began) / outcome.tried
    outcome.p99, outcome.megabytes = others.p99, memory.megabytes
    if memory.megabytes > MOST_TOGETHER:
        outcome.failures.append(f"{name}: took {memory.megabytes:.0f} MB")
    return outcome


class Others:
    """A few clients that ask for verdicts, and expect each one within seconds.

    They are a process of their own: what an attack computes must not look like a slow service.
    """

    def __init__(self, victim: Target) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._stop = spawn.Event()
        self._found, sent = spawn.Pipe(duplex=False)
        self._process = spawn.Process(
            target=_ask_all, args=(victim.service.url, self._stop, sent), daemon=True
        )
        self._times: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> Others:
        self._process.start()
        self._found.recv()  # they have begun
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._times, self.failures = self._found.recv()
        self._process.join()

    @property
    def p99(self) -> float:
        """Seconds in which 99 of 100 answers came."""
        times = sorted(self._times)
        return times[int(len(times) * 0.99)] if times else math.nan


def _ask_all(url: str, stop: Event, found: Connection) -> None:
    """Ask with `HARMLESS` connections until told to stop; send the times and the failures."""
    times: list[float] = []
    failures: list[str] = []
    threads = [
        threading.Thread(target=_ask, args=(url, stop, times, failures)) for _ in range(HARMLESS)
    ]
    for thread in threads:
        thread.start()
    found.send("begun")
    for thread in threads:
        thread.join()
    found.send((times, failures))


def _ask(url: str, stop: Event, times: list[float], failures: list[str]) -> None:
    connection = connect(url, OTHERS)
    while not stop.wait(0.03):
        began = time.monotonic()
        try:
            status, answer = post(connection, PREDICT, {"text": "any text"})
        except (HTTPException, OSError) as error:
            # A kept connection may be closed, as that of a killed worker is; not two of them.
            connection.close()
            if _fails_again(url):
                failures.append(f"a harmless request failed: {error!r}")
            continue
        times.append(time.monotonic() - began)
        if status != 200 or not is_consistent(answer):
            failures.append(f"a harmless request was answered {status} {answer}")


def _fails_again(url: str) -> bool:
    with closing(connect(url, OTHERS)) as connection:
        try:
            status, answer = post(connection, PREDICT, {"text": "any text"})
        except (HTTPException, OSError):
            return True
    return status != 200 or not is_consistent(answer)


class Memory:
    """How much more one of several processes took at most than at first, in megabytes."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._before: dict[int, int] = {}
        self.megabytes = 0.0

    def __enter__(self) -> Memory:
        for pid in self._pids:
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the peak
            except OSError:
                continue
            self._before[pid] = _status(pid, "VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        for pid, before in self._before.items():
            if Path(f"/proc/{pid}").exists():
                more = (_status(pid, "VmHWM") - before) / 1000
                self.megabytes = max(self.megabytes, more)


def post(connection: HTTPConnection, path: str, body: object) -> tuple[int, object]:
    """Send JSON; the status and the answer."""
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def is_consistent(answer: object) -> bool:
    """Whether the verdict is the one of the model that the answer names."""
    if not isinstance(answer, dict) or answer.get("model") not in MARGINS:
        return False
    expected = 1 / (1 + math.exp(-abs(MARGINS[answer["model"]])))
    return bool(abs(answer["confidence"] - expected) < 1e-6)


def workers(supervisor: int) -> list[int]:
    """The processes that a service has started."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
    return [int(child) for child in children.split()]


def _processor_seconds(pid: int) -> float:
    """Seconds of processors that a process has used; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    """Kilobytes of memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)

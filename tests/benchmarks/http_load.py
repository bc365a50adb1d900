"""Load over HTTP: wrk where it is installed, else a client of our own that measures the same."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from tests.connections import Connection

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Measured(NamedTuple):
    """What a server did: requests per second, and seconds that 99 of 100 took at most."""

    rate: float
    p99: float


class Load(NamedTuple):
    """One request, sent again and again.

    Attributes
    ----------
    url : str
        Scheme, host and port.
    path : str
    body : bytes
        JSON.
    connections : int
    seconds : float
        How long.
    """

    url: str
    path: str
    body: bytes
    connections: int
    seconds: float

    def run(self) -> Measured:
        """Send, and measure.

        Raises
        ------
        RuntimeError
            If an answer is not 200.
        """
        return self._wrk() if shutil.which("wrk") else asyncio.run(self._own())

    def _wrk(self) -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            body = Path(folder) / "body.json"
            body.write_bytes(self.body)
            script = Path(folder) / "post.lua"
            script.write_text(
                'wrk.method = "POST"\n'
                'wrk.headers["Content-Type"] = "application/json"\n'
                f'local file = io.open("{body}", "rb")\n'
                'wrk.body = file:read("*a")\n'
            )
            said = subprocess.run(
                [
                    *("wrk", "--threads", "1", "--connections", str(self.connections)),
                    *("--duration", f"{self.seconds:.0f}s", "--timeout", "30s", "--latency"),
                    *("--script", str(script), self.url + self.path),
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        if "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(f"{self.path}: not every answer was 200:\n{said}")
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", said)
        if rate is None or p99 is None:
            raise RuntimeError(f"wrk says something else than it used to:\n{said}")
        return Measured(float(rate[1]), float(p99[1]) * _UNITS[p99[2]])

    async def _own(self) -> Measured:
        deadline = time.perf_counter() + self.seconds
        times: list[float] = []
        async with asyncio.TaskGroup() as clients:
            for _ in range(self.connections):
                clients.create_task(self._ask(deadline, times))
        return Measured(len(times) / self.seconds, float(np.percentile(times, 99)))

    async def _ask(self, deadline: float, times: list[float]) -> None:
        connection = await Connection.open(self.url)
        while (asked := time.perf_counter()) < deadline:
            status, answer = await connection.post(self.path, self.body)
            if status != 200:
                raise RuntimeError(f"{self.path}: {status} {answer!r}")
            times.append(time.perf_counter() - asked)
        await connection.close()

"""``python -m tests.load [LOCUST OPTIONS]``: a minute of load on a server of its own.

The server has two workers and the model that answers in this project. The exit code is that of
Locust: 1 if any request failed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCUSTFILE: Final = Path(__file__).parent / "locustfile.py"
START_TIMEOUT: Final = 60.0


def main() -> int:
    """Serve, load, and print Locust's table."""
    with served() as url:
        return subprocess.run(
            [
                *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url),
                *("--headless", "--only-summary", "--users", "50", "--spawn-rate", "25"),
                *("--run-time", "1m", "--stop-timeout", "10", *sys.argv[1:]),
            ],
            check=False,
        ).returncode


@contextmanager
def served() -> Iterator[str]:
    """``olens serve`` on a free port; the address."""
    command = [sys.executable, "-m", "opinionlens_cli.main", "serve", "--port", "0"]
    # All of the load comes from one address.
    environment = os.environ | {"OLENS_SERVING__RATE_LIMIT": "0", "OLENS_LOG_LEVEL": "warning"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, "--workers", "2"], stderr=log, env=environment)
        try:
            yield _address(process, log.fileno())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _address(process: subprocess.Popen[bytes], log: int) -> str:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        written = os.pread(log, 100_000, 0).decode(errors="replace")
        if found := re.search(r"OpinionLens is at (\S+)", written):
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"olens serve does not start:\n{os.pread(log, 100_000, 0).decode()}")


if __name__ == "__main__":
    sys.exit(main())

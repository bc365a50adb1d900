"""Run a command and report its wall time and peak memory: ``python peak.py REPORT COMMAND...``.

It is a process of its own because Linux counts the memory of whoever starts a command to the
command's peak; this one is small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Run the command; its seconds, bytes and exit code go to the file REPORT as JSON."""
    report, *command = sys.argv[1:]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    measured = {"seconds": time.perf_counter() - started, "bytes": usage.ru_maxrss * 1024}
    Path(report).write_text(json.dumps(measured), encoding="utf-8")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())

"""No kernel reads outside its text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_kernels_stay_inside_their_buffers(pytestconfig: pytest.Config) -> None:
    # A cache of their own: the one of every day holds the kernels without bounds checks.
    compiled = pytestconfig.cache.mkdir("numba-bounds-checked")
    environment = os.environ | {
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(compiled),
        "NUMBA_OPT": "0",  # they run once: optimising them takes longer
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.text.bounds"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("strings\n")

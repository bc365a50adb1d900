"""Conditions that tests share."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import pytest

# Read here, since tests of settings clear the variables with our prefix.
REAL_DATA = os.environ.get("OLENS_REAL_DATA")
ENGINE = os.environ.get("OLENS_ENGINE")
REQUIRE_ALL = os.environ.get("OLENS_REQUIRE_ALL") == "1"

PATIENCE: Final = 300.0
"""Seconds until something has to come about, on a machine that does much else meanwhile."""

Seen = TypeVar("Seen")


def wait_for(
    look: Callable[[], Seen],
    why: Callable[[], object] | str = "it did not come about",
    seconds: float = PATIENCE,
) -> Seen:
    """Return what `look` gives as soon as it is true; `why` says what is wrong if it never is."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, why() if callable(why) else why
        time.sleep(0.1)
    return seen


def require(condition: object, reason: str) -> None:
    """Skip the test when `condition` is false; fail it where everything must be there (CI)."""
    if condition:
        return
    if REQUIRE_ALL:
        pytest.fail(f"OLENS_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


def real_data() -> Path:
    """The folder of the real data sets."""
    require(REAL_DATA and Path(REAL_DATA).is_dir(), "OLENS_REAL_DATA names no folder")
    return Path(str(REAL_DATA)).resolve()


def program(name: str, *folders: str) -> Path:
    """The path of an installed program: beside Python, on PATH, or in `folders` (globs)."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    for folder in folders:
        found = found or next((str(p) for p in sorted(Path("/").glob(f"{folder}/{name}"))), None)
    require(found, f"{name} is not installed")
    return Path(str(found))

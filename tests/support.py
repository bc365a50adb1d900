"""Conditions that tests share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Read here, since tests of settings clear the variables with our prefix.
REAL_DATA = os.environ.get("OLENS_REAL_DATA")
REQUIRE_ALL = os.environ.get("OLENS_REQUIRE_ALL") == "1"


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
    """The path of an installed program, looked for on PATH and in `folders` (globs)."""
    found = shutil.which(name)
    for folder in folders:
        found = found or next((str(p) for p in sorted(Path("/").glob(f"{folder}/{name}"))), None)
    require(found, f"{name} is not installed")
    return Path(str(found))

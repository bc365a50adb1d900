"""What compose makes of our files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support import ENGINE, require

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
STACKS: Final = ("local", "prod")
CHOICES: Final = {
    "OLENS_VERSION": "1.2.3",
    "OLENS_UID": "1234",
    "OLENS_GID": "1234",
    "OLENS_DOMAIN": "example.org",
    "OLENS_ACME_EMAIL": "me@example.org",
}

Compose = dict[str, Any]


def files(*stacks: str) -> list[Path]:
    """The base and its overlays."""
    return [DEPLOY / "compose.yaml", *(DEPLOY / f"compose.{stack}.yaml" for stack in stacks)]


def merge(folder: Path, stack: str, **choices: str) -> subprocess.CompletedProcess[str]:
    """Let `docker compose` merge base and overlay in a copy below `folder`; it needs no engine."""
    copy = folder / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("secrets", ".env"))
    (copy / ".env").write_text("".join(f"{k}={v}\n" for k, v in {**CHOICES, **choices}.items()))
    command = ["docker", "compose", f"--env-file={copy / '.env'}"]
    command += [f"--file={copy / path.name}" for path in files(stack)]
    return subprocess.run(
        [*command, "config", "--format=json"],
        capture_output=True,
        text=True,
        env=docker_environment(),
    )


def docker_environment() -> dict[str, str]:
    """For Docker's client and its plugins, on PATH or in OLENS_ENGINE; nothing else of ours."""
    found = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    if ENGINE:
        found["PATH"] = f"{ENGINE}/bin:{found['PATH']}"
        found["DOCKER_CONFIG"] = f"{ENGINE}/docker"
    version = ["docker", "compose", "version"]
    there = (
        shutil.which("docker", path=found["PATH"])
        and not subprocess.run(version, env=found, capture_output=True).returncode
    )
    require(there, "`docker compose` is not installed, and OLENS_ENGINE names no folder with it")
    return found


def merged(folder: Path, stack: str) -> Compose:
    """The merged stack, every variable substituted."""
    done = merge(folder, stack)
    assert done.returncode == 0, done.stderr
    result: Compose = json.loads(done.stdout)
    return result

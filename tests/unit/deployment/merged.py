"""What compose makes of our files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support import program

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
    """Let Debian's docker-compose merge base and overlay in a copy below `folder`."""
    copy = folder / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("secrets", ".env"))
    base = copy / "compose.yaml"
    # The one line that this old version does not know.
    base.write_text(re.sub(r"(?m)^name: \w+$", "", base.read_text()))
    (copy / ".env").write_text("".join(f"{k}={v}\n" for k, v in {**CHOICES, **choices}.items()))
    command = [str(program("docker-compose")), "--env-file", str(copy / ".env")]
    command += [f"--file={copy / path.name}" for path in files(stack)]
    return subprocess.run(
        [*command, "config"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )


def merged(folder: Path, stack: str) -> Compose:
    """The merged stack, every variable substituted."""
    done = merge(folder, stack)
    assert done.returncode == 0, done.stderr
    result: Compose = yaml.safe_load(done.stdout)
    return result

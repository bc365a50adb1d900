"""Disks that are full, or become full, under what a user does at the command line."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.chaos.campaign import Attack, Target
from tests.disks import small_disk
from tests.integration.training_project import make_project
from tests.serving import environment

COMMANDS: Final = (
    ("train", "--log-model"),
    ("tune", "--trials", "2"),
    ("register", "latest", "other"),
    ("fetch", "reviews"),
    ("adapt", "mine.csv", "--name", "mine"),
    ("predict", "--data", "many.csv", "--output", "judged.csv", "--overwrite"),
)
FREE: Final = (0, 4_000, 64_000, 300_000, 1_000_000, 3_000_000)
"""Bytes that are left on the disk."""
_SIZE: Final = "96m"
_FREE_SAID: Final = re.compile(r"([\d.,]+) MB are free")


def full_disks(victim: Target) -> None:
    """Every command says in one line that the disk is full, and works again afterwards."""
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name) / "disk", _SIZE) as disk:
        root = _trained_project(disk / "project")
        for command in COMMANDS:
            for free in random.sample(FREE, 2):
                _run_without_room(disk, root, free, *command)
            done = _olens(root, *command)
            assert done.returncode == 0, (command, done.stderr)


def _run_without_room(disk: Path, root: Path, free: int, *command: str) -> None:
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))
    free = shutil.disk_usage(disk).free
    done = _olens(root, *command)
    filler.unlink()
    what = f"{' '.join(command)} with {free:,} bytes: {done.stderr[-1000:]}"
    assert done.returncode in (0, 1), what
    assert "Traceback" not in done.stderr, what
    assert "defect" not in done.stderr, what
    if done.returncode:
        assert done.stderr.count("Error:") == 1, what
        said = [float(each.replace(",", "")) for each in _FREE_SAID.findall(done.stderr)]
        assert all(each <= free / 1e6 + 0.1 for each in said), what


def _trained_project(root: Path) -> Path:
    """A project with a model that is logged, registered and cached, and files to work with."""
    make_project(root, {"ngram_max": 2, "bits": 16})
    rows = [f"it was {('bad', 'good')[n % 2]} number {n},{n % 2}" for n in range(100)]
    (root / "mine.csv").write_text("\n".join(["text,label", *rows, ""]))
    (root / "many.csv").write_text("\n".join(["text", *[f"good film {n}" for n in range(50_000)]]))
    for command in (
        ("preprocess", "--sample"),
        ("train", "--log-model"),
        ("register", "latest", "reviews"),
    ):
        done = _olens(root, *command)
        assert done.returncode == 0, done.stderr
    return root


def _olens(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opinionlens_cli.main", *arguments],
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


FULL_DISKS: Final[dict[str, Attack]] = {"full disks under each command": full_disks}

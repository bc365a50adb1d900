"""All of Amazon Fine Food Reviews, as far as size goes: time and memory of three commands."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml

from tests.benchmarks import peak
from tests.benchmarks.amazon import ALL_ROWS
from tests.benchmarks.contest import Contest
from tests.benchmarks.results import Result

_PROJECT: Final = Path(__file__).resolve().parents[2]
_SHARES: Final = {"a quarter": 4, "a half": 2, "the whole": 1}
_COMMANDS: Final = (
    ("preprocess",),
    ("vectorize",),
    ("train", "--subject", "nbsvm"),
)
_GIB: Final = 1 << 30


def scale(contest: Contest) -> Iterator[Result]:
    """Wall time and peak memory of preprocess, vectorize and train at three sizes."""
    with tempfile.TemporaryDirectory(prefix="olens-scale-") as temporary:
        contest.say(f"making {ALL_ROWS:,} rows")
        everything = Path(temporary) / "all.csv"
        make_rows(contest.data / "raw", everything, ALL_ROWS)
        for share, divisor in _SHARES.items():
            rows = ALL_ROWS // divisor
            root = Path(temporary) / share
            make_project(root, everything, rows)
            yield from _measure(contest, root, f"{share} of Amazon ({rows:,} rows)", divisor == 1)


def make_rows(raw: Path, target: Path, rows: int) -> None:
    """Write a CSV like Amazon's; see `tests.benchmarks.amazon`."""
    module = "tests.benchmarks.amazon"
    command = [sys.executable, "-m", module, str(raw), str(target), str(rows)]
    subprocess.run(command, check=True, cwd=_PROJECT)


def make_project(root: Path, everything: Path, rows: int) -> None:
    """A project of its own with the first `rows` rows as its only data set."""
    params = yaml.safe_load((_PROJECT / "conf" / "params.yaml").read_text(encoding="utf-8"))
    params["datasets"] = {"amazon": params["datasets"]["amazon"]}
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    target = root / "data" / "raw" / params["datasets"]["amazon"]["path"]
    target.parent.mkdir(parents=True)
    # The rows are written one to a line.
    with everything.open("rb") as source, target.open("wb") as file:
        file.writelines(itertools.islice(source, rows + 1))


def _measure(contest: Contest, root: Path, what: str, is_whole: bool) -> list[Result]:
    seconds, memory = [], []
    for command in _COMMANDS:
        contest.say(f"olens {' '.join(command)}: {what}")
        measured = run_olens(root, command)
        seconds.append(measured["seconds"])
        memory.append(measured["bytes"] / _GIB)
    stages = ", ".join(
        f"{command[0]} {time:.0f} s {peak_memory:.1f} GiB"
        for command, time, peak_memory in zip(_COMMANDS, seconds, memory, strict=True)
    )
    return [
        Result(
            what=f"{what}, preprocess + vectorize + train",
            unit="s",
            ours=sum(seconds),
            target="under 360 s" if is_whole else "",
            reached=sum(seconds) < 360 if is_whole else None,
            note=stages,
        ),
        Result(
            what=f"{what}, peak memory",
            unit="GiB",
            ours=max(memory),
            target="under 6 GiB" if is_whole else "",
            reached=max(memory) < 6 if is_whole else None,
        ),
    ]


def run_olens(root: Path, command: Sequence[str], **variables: str) -> dict[str, float]:
    """Run `olens` in a project; returns its ``seconds`` and the ``bytes`` of its peak memory.

    What it prints is in the file ``printed`` of the project.
    """
    olens = str(Path(sys.executable).parent / "olens")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OLENS_")} | variables
    return run_measured([olens, "--root", str(root), *command], root, environment)


def run_measured(
    command: Sequence[str], root: Path, environment: Mapping[str, str] | None = None
) -> dict[str, float]:
    """The same for any command."""
    report = root / "measured.json"
    with (root / "printed").open("w", encoding="utf-8") as printed:
        subprocess.run(
            [sys.executable, peak.__file__, str(report), *command],
            check=True,
            env=environment,
            cwd=root,
            stdout=printed,
        )
    measured: dict[str, float] = json.loads(report.read_text(encoding="utf-8"))
    return measured

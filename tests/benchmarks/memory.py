"""Training on more rows than the memory holds: time, peak memory, accuracy; Vowpal Wabbit too."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.contest import Contest
from tests.benchmarks.results import Result
from tests.benchmarks.scale import make_project, make_rows, run_measured, run_olens

_PROJECT: Final = Path(__file__).resolve().parents[2]
_GIB: Final = 1 << 30
_MOST: Final = 4
_RIVAL: Final = "tests.benchmarks.vowpal_rival"
_STEPS: Final = ("preprocess", "vectorize", "train")


class Trained(NamedTuple):
    """Seconds and peak GiB of each step, and the accuracy on the validation split."""

    seconds: list[float]
    memory: list[float]
    accuracy: float

    def __str__(self) -> str:
        steps = zip(_STEPS, self.seconds, self.memory, strict=False)
        return ", ".join(f"{name} {time:.0f} s {peak:.2f} GiB" for name, time, peak in steps)


def memory(contest: Contest) -> list[Result]:
    """Preprocess, vectorize and train nbsvm within ``training.memory`` = 4 GiB.

    ``BENCH_ROWS``, millions with commas between, are the sizes: 0.5, 1, 2 and 5.7 without it. The
    rows are made of the sentences of those at hand, so no text but few sentences are new. The
    smallest size is also trained in memory, and with half the memory.
    """
    named = os.environ.get("BENCH_ROWS", "0.5,1,2,5.7").split(",")
    sizes = sorted(int(1e6 * float(each)) for each in named)
    results, rates = [], []
    with tempfile.TemporaryDirectory(prefix="olens-memory-") as temporary:
        everything = Path(temporary) / "all.csv"
        contest.say(f"making {sizes[-1]:,} rows")
        make_rows(contest.data / "raw", everything, sizes[-1])
        for rows in sizes:
            root = Path(temporary) / f"{rows}"
            make_project(root, everything, rows)
            found = _train(contest, root, rows, f"{_MOST}GiB")
            rates.append(sum(found.seconds) / rows)
            results += _results(rows, found, rates[-1] / rates[0])
            if rows == sizes[0]:
                results += _compared(contest, root, rows)
            results += _rival(contest, root, rows, found)
    return results


def _train(contest: Contest, root: Path, rows: int, allowed: str, begin: int = 0) -> Trained:
    seconds, peaks = [], []
    for step in _STEPS[begin:]:
        contest.say(f"olens {step}: {rows:,} rows in {allowed}")
        options = ["--json"] if step == "train" else []
        measured = run_olens(root, [step, *options], OLENS_TRAINING__MEMORY=allowed)
        seconds.append(measured["seconds"])
        peaks.append(measured["bytes"] / _GIB)
    printed = json.loads((root / "printed").read_text(encoding="utf-8"))
    return Trained(seconds, peaks, printed["validation"]["accuracy"])


def _results(rows: int, found: Trained, growth: float) -> list[Result]:
    size = f"{rows / 1e6:g} M rows"
    return [
        Result(
            what=f"train on {size}",
            unit="s",
            ours=sum(found.seconds),
            target="time linear in rows (1.25 times at most)",
            reached=growth <= 1.25,
            note=f"{found}; {growth:.2f} times the time for each row of the smallest size",
        ),
        Result(
            what=f"train on {size}, peak memory",
            unit="GiB",
            ours=max(found.memory),
            target=f"below {_MOST} GiB",
            reached=max(found.memory) < _MOST,
        ),
        Result(what=f"train on {size}, accuracy", unit="%", ours=found.accuracy),
    ]


def _compared(contest: Contest, root: Path, rows: int) -> list[Result]:
    """The same features fitted in memory and in blocks."""
    train = len(_STEPS) - 1
    whole = _train(contest, root, rows, "1TiB", train)
    blocks = _train(contest, root, rows, f"{_MOST // 2}GiB", train)
    return [
        Result(
            what=f"{rows / 1e6:g} M rows in blocks of a {_MOST // 2} GiB limit, accuracy",
            unit="%",
            ours=blocks.accuracy,
            rival="the same in memory",
            theirs=whole.accuracy,
            target="within 0.05 points",
            reached=abs(blocks.accuracy - whole.accuracy) <= 0.0005,
            note=f"{blocks.seconds[0]:.0f} s {blocks.memory[0]:.2f} GiB; in memory "
            f"{whole.seconds[0]:.0f} s {whole.memory[0]:.2f} GiB",
        )
    ]


def _rival(contest: Contest, root: Path, rows: int, found: Trained) -> list[Result]:
    if importlib.util.find_spec("vowpalwabbit") is None:
        contest.say("Vowpal Wabbit is not installed")
        return []
    contest.say(f"Vowpal Wabbit: {rows:,} rows")
    prepared = root / "data" / "prepared" / "amazon"
    command = [sys.executable, "-m", _RIVAL, str(prepared), str(root)]
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT)}
    measured = run_measured(command, root, environment)
    accuracy = float((root / "printed").read_text(encoding="utf-8"))
    own = sum(found.seconds[1:])
    return [
        Result(
            what=f"{rows / 1e6:g} M prepared rows to a model",
            unit="s",
            ours=own,
            rival="Vowpal Wabbit",
            theirs=measured["seconds"],
            ratio=measured["seconds"] / own,
            note=f"peak {measured['bytes'] / _GIB:.2f} GiB",
        ),
        Result(
            what=f"{rows / 1e6:g} M rows, accuracy on the validation split",
            unit="%",
            ours=found.accuracy,
            rival="Vowpal Wabbit",
            theirs=accuracy,
        ),
    ]

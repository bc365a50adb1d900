"""Files of millions of rows: rows/s and peak memory, against batch loops over the rivals."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from pipelines.inference.linear_scorer import TABLE_FILE
from tests.benchmarks import batch_rivals, peak
from tests.benchmarks.contest import SKLEARN, Contest
from tests.benchmarks.results import Result

_HALF: Final = 50
"""Characters of a piece of a review; two of them are a row."""
_CHUNK: Final = 500_000
_MIB: Final = 1 << 20
_AIMS: Final = {"parquet": 150_000, "csv": 100_000}
_MEMORY: Final = 600


class Measured(NamedTuple):
    """What one run took."""

    seconds: float
    mib: float


def batch(contest: Contest) -> Iterator[Result]:
    """`olens predict --data` at three sizes; the rivals at the smallest.

    ``BENCH_ROWS``, millions with commas between, are the sizes: 1, 5 and 10 without it.
    """
    named = os.environ.get("BENCH_ROWS", "1,5,10")
    sizes = [int(1e6 * float(each)) for each in named.split(",")]
    with tempfile.TemporaryDirectory(prefix="olens-batch-") as temporary:
        folder = Path(temporary)
        model = folder / "model"
        model.mkdir()
        contest.trained.ours.save(model / TABLE_FILE)
        for kind, aim in _AIMS.items():
            ours = {}
            for rows in sizes:
                source = make_rows(contest, folder, rows, kind)
                contest.say(f"olens predict: {rows:,} rows of {kind}")
                ours[rows] = _olens(model, source, folder)
                if rows == sizes[0]:
                    rivals = _rivals(contest, source, folder)
                source.unlink()
            yield from _results(kind, aim, ours, rivals)


def make_rows(contest: Contest, folder: Path, rows: int, kind: str) -> Path:
    """A file of `rows` rows of 100 characters, each of two pieces of reviews of the test split."""
    pieces = pl.Series(
        [
            text[at : at + _HALF].replace("\n", " ")
            for text in contest.test.texts
            for at in range(0, len(text) - _HALF, _HALF)
        ]
    )
    chance = np.random.default_rng(rows)
    parts = []
    for start in range(0, rows, _CHUNK):
        n = min(_CHUNK, rows - start)
        one, other = (pieces.gather(chance.integers(0, len(pieces), n)) for _ in range(2))
        part = folder / f"made-{start}.parquet"
        pl.DataFrame({"id": np.arange(start, start + n), "text": one + other}).write_parquet(part)
        parts.append(part)
    target = folder / f"rows.{kind}"
    made = pl.scan_parquet(parts)
    if kind == "csv":
        made.sink_csv(target)
    else:
        made.sink_parquet(target)
    for part in parts:
        part.unlink()
    return target


def _olens(model: Path, source: Path, folder: Path) -> Measured:
    target = folder / f"scored{source.suffix}"
    olens = [sys.executable, "-m", "opinionlens_cli.main", "predict", "--model", str(model)]
    measured = _run([*olens, "--data", str(source), "--output", str(target)], folder)
    target.unlink()
    return measured


def _rivals(contest: Contest, source: Path, folder: Path) -> dict[str, Measured]:
    trained = contest.trained
    name = max(SKLEARN, key=lambda each: SKLEARN[each])
    trained.fasttext.save_model(str(folder / "rival.fasttext"))
    (folder / "rival.sklearn").write_bytes(pickle.dumps(trained.sklearn[name]))
    measured = {}
    for rival, file in (("fastText", "rival.fasttext"), ("scikit-learn", "rival.sklearn")):
        contest.say(f"{rival}: the same rows")
        target = folder / f"rival{source.suffix}"
        module = batch_rivals.__name__
        command = [sys.executable, "-m", module, str(folder / file), str(source), str(target)]
        measured[rival] = _run(command, folder)
        target.unlink()
    return measured


def _run(command: list[str], folder: Path) -> Measured:
    report = folder / "measured.json"
    done = subprocess.run(
        [sys.executable, peak.__file__, str(report), *command],
        capture_output=True,
        text=True,
        # Those of the tests are not settings.
        env={name: value for name, value in os.environ.items() if not name.startswith("OLENS_")},
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(report.read_text(encoding="utf-8"))
    return Measured(found["seconds"], found["bytes"] / _MIB)


def _results(
    kind: str, aim: int, ours: dict[int, Measured], rivals: dict[str, Measured]
) -> list[Result]:
    smallest, largest = min(ours), max(ours)
    rate = largest / ours[largest].seconds
    all_sizes = ", ".join(
        f"{rows / 1e6:g} M: {rows / found.seconds:,.0f} rows/s, {found.mib:.0f} MiB"
        for rows, found in ours.items()
    )
    results = [
        Result(
            what=f"score {largest / 1e6:g} M rows of {kind}",
            unit="rows/s",
            ours=rate,
            target=f"at least {aim:,}",
            reached=rate >= aim,
            note=all_sizes,
        ),
        Result(
            what=f"the same, peak memory ({kind})",
            unit="MiB",
            ours=ours[largest].mib,
            target=f"at most {_MEMORY}, as at {smallest / 1e6:g} M",
            reached=ours[largest].mib <= min(_MEMORY, 1.1 * ours[smallest].mib),
        ),
    ]
    for rival, found in rivals.items():
        theirs, own = smallest / found.seconds, smallest / ours[smallest].seconds
        results.append(
            Result(
                what=f"score {smallest / 1e6:g} M rows of {kind}, start included",
                unit="rows/s",
                ours=own,
                rival=f"{rival}, two processes",
                theirs=theirs,
                ratio=own / theirs,
            )
        )
    return results

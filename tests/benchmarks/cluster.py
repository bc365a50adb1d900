"""Scoring on a Ray cluster of one, two and three nodes, and in Spark, beside one process.

All nodes share the processors of this machine, so more nodes cannot be quicker: what is measured is
what spreading costs, and that no row is lost or there twice when a node is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from pipelines.batch.ray_scoring import RayScoringRun
from pipelines.batch.scoring import Job
from pipelines.inference.linear_scorer import TABLE_FILE
from tests.benchmarks.batch import make_rows
from tests.benchmarks.contest import Contest, fit
from tests.benchmarks.results import Result
from tests.clusters import kill_node, ray_nodes, spark_session

_FILES: Final = 8
_NODES: Final = (1, 2, 3)


def cluster(contest: Contest) -> Iterator[Result]:
    """Rates of the same rows; ``BENCH_ROWS`` is their number in millions, 2 without it."""
    rows = int(1e6 * float(os.environ.get("BENCH_ROWS", "2")))
    with tempfile.TemporaryDirectory(prefix="olens-cluster-") as temporary:
        folder = Path(temporary)
        model = folder / "model"
        model.mkdir()
        contest.trained.ours.save(model / TABLE_FILE)
        source = _make_files(contest, folder, rows)
        rows = rows // _FILES * _FILES
        contest.say(f"one process: {rows:,} rows in {_FILES} files")
        alone = rows / _olens(model, source, folder / "here")
        for nodes in _NODES:
            contest.say(f"Ray, {nodes} nodes")
            with ray_nodes(nodes) as started:
                address = ["--engine", "ray", "--address", started.address]
                rate = rows / _olens(model, source, folder / f"on-{nodes}", *address)
            yield _result(f"Ray, {nodes} nodes of 2 CPUs", rows, rate, alone)
        contest.say("Ray, 3 nodes, one of them killed half-way")
        yield _killed(contest, source, folder, rows, alone)
        contest.say("Spark, local[2]")
        seconds, same = _spark(contest, source, folder)
        spark = _result("Spark, local[2]", rows, rows / seconds, alone)
        target = {"target": "the verdicts of one process", "reached": same}
        yield msgspec.structs.replace(spark, **target)


def _make_files(contest: Contest, folder: Path, rows: int) -> Path:
    target = folder / "in"
    target.mkdir()
    for number in range(_FILES):
        # Of another number of rows each, so that the rows are others too.
        made = make_rows(contest, folder, rows // _FILES + number, "parquet")
        pl.read_parquet(made).head(rows // _FILES).write_parquet(target / f"{number}.parquet")
        made.unlink()
    return target


def _olens(model: Path, source: Path, output: Path, *options: str) -> float:
    """Seconds of `olens predict`, its start included."""
    command = [sys.executable, "-m", "opinionlens_cli.main", "predict", "--model", str(model)]
    command += ["--data", str(source), "--output", f"{output}/", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OLENS_")}
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=kept)
    seconds = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(done.stderr)
    return seconds


def _killed(contest: Contest, source: Path, folder: Path, rows: int, alone: float) -> Result:
    killed: list[float] = []
    job = Job(data=str(source), output=f"{folder}/killed/")
    started = time.monotonic()
    with ray_nodes(3) as nodes:

        def kill_once(judged: int, share: float) -> None:
            if judged > rows / 2 and not killed:
                killed.append(share)
                kill_node(nodes)

        run = RayScoringRun(contest.trained.ours, "ours", job, folder, nodes.address)
        run.run(resume=False, overwrite=False, on_progress=kill_once)
    seconds = time.monotonic() - started
    found = pl.scan_parquet(folder / "killed" / "*.parquet").select("id", "text", "row").collect()
    there = pl.scan_parquet(source / "*.parquet").collect()
    same = found.select(there.columns).equals(there)
    return Result(
        what=f"score {rows / 1e6:g} M rows: Ray, 3 nodes, one killed at {killed[0]:.0%}",
        unit="rows/s",
        ours=rows / seconds,
        rival="one process",
        theirs=alone,
        target="every row once, in order",
        reached=same,
        note="start of the cluster included",
    )


def _spark(contest: Contest, source: Path, folder: Path) -> tuple[float, bool]:
    """Seconds, and whether the verdicts are those of one process."""
    import mlflow
    import numpy as np

    from pipelines.training.evaluation import evaluate
    from pipelines.training.persistence import save_model
    from pipelines.training.subjects import get_subject

    metrics = {"test": evaluate(np.array([0, 1]), np.array([0.1, 0.9]))}
    save_model(
        fit(get_subject("nbsvm"), contest.train), folder / "logged", "# A card\n", metrics, ["good"]
    )
    with spark_session() as spark:
        judge = mlflow.pyfunc.spark_udf(
            spark,
            str(folder / "logged"),
            result_type="prediction string, probability double",
            params={"verdicts": True},
        )
        started = time.monotonic()
        reviews = spark.read.parquet(str(source))
        reviews.withColumn("verdict", judge("text")).write.parquet(f"{folder}/spark")
        seconds = time.monotonic() - started
    verdicts = ["id", "text", "prediction", "probability"]
    found, expected = (
        frame.select(verdicts).sort(verdicts).collect()
        for frame in (
            pl.scan_parquet(folder / "spark" / "*.parquet").unnest("verdict"),
            pl.scan_parquet(folder / "here" / "*.parquet"),
        )
    )
    return seconds, found.equals(expected)


def _result(what: str, rows: int, rate: float, alone: float) -> Result:
    return Result(
        what=f"score {rows / 1e6:g} M rows: {what}",
        unit="rows/s",
        ours=rate,
        rival="one process",
        theirs=alone,
        ratio=rate / alone,
        note="the same two processors",
    )

"""`olens preprocess imdb` against the same steps in pandas and `re`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.config.params import load_params
from pipelines.config.settings import Paths, Settings
from pipelines.datasets.preparing import preprocess
from tests.benchmarks.contest import Contest
from tests.benchmarks.measuring import take_turns
from tests.benchmarks.results import Result
from tests.benchmarks.rivals import preprocess_with_pandas

_PROJECT: Final = Path(__file__).resolve().parents[2]


def preprocessing(contest: Contest) -> list[Result]:
    """Time from IMDB's CSV to Parquet splits, and how far both keep the same rows."""
    params = load_params(_PROJECT)
    declaration = params.datasets["imdb"]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "pandas").mkdir()
        paths = Paths(raw=contest.data / "raw", prepared=root / "prepared")
        settings = Settings(root=root, paths=paths)
        source = paths.raw / declaration.path
        contest.say(f"preprocessing IMDB, {contest.repetitions} times in turn, after warming up")
        contestants = {
            "ours": partial(preprocess, settings, params, ["imdb"]),
            "pandas": partial(
                preprocess_with_pandas, source, root / "pandas", params.seed, params.split.test
            ),
        }
        seconds = _take_turns_apart(contestants, contest.repetitions)
        ours, theirs = _kept(root / "prepared" / "imdb"), _kept(root / "pandas")
    ratio = seconds["pandas"] / seconds["ours"]
    return [
        Result(
            what="preprocess IMDB's 50,000 rows to Parquet splits",
            unit="s",
            ours=seconds["ours"],
            rival="pandas + re",
            theirs=seconds["pandas"],
            ratio=ratio,
            target="at least 5 x",
            reached=ratio >= 5,
        ),
        Result(
            what="rows that are kept",
            unit="rows",
            ours=len(ours),
            rival="pandas + re",
            theirs=len(theirs),
            target="the same texts and labels",
            reached=ours == theirs,
            note=f"{len(ours & theirs):,} in common",
        ),
    ]


def _take_turns_apart(
    contestants: Mapping[str, Callable[[], object]], repetitions: int
) -> dict[str, float]:
    """`take_turns`, each contestant in a process of its own, after warming up.

    In one process, each would work with the memory that the other has fragmented.
    """
    with ExitStack() as stack:
        waiting = {}
        for name, run in contestants.items():
            pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            stack.enter_context(pool)
            pool.submit(run).result()
            waiting[name] = partial(_in_process, pool, run)
        return take_turns(waiting, repetitions)


def _in_process(pool: ProcessPoolExecutor, run: Callable[[], object]) -> None:
    pool.submit(run).result()


def _kept(folder: Path) -> set[tuple[str, int]]:
    parts = [
        pl.read_parquet(folder / f"{split}.parquet", columns=["text", "label"])
        for split in ("train", "val", "test")
    ]
    return {(text, label) for part in parts for text, label in part.iter_rows()}

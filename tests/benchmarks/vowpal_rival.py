"""Vowpal Wabbit on prepared texts: ``python -m tests.benchmarks.vowpal_rival PREPARED WORK``.

Logistic regression on hashed 1- to 3-grams in as many buckets as ours, in three passes over its
cache file. Prints the accuracy on the validation split.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import polars as pl
import vowpalwabbit

_BATCH: Final = 50_000
_OPTIONS: Final = "--quiet -b 23"


def main() -> None:
    """Train on the train split of PREPARED; files go to WORK."""
    prepared, work = map(Path, sys.argv[1:])
    for split in ("train", "val"):
        _write(prepared / f"{split}.parquet", work / f"{split}.vw")
    model = work / "rival.vw"
    _run(
        f"{_OPTIONS} --loss_function logistic --ngram 3 -d {work / 'train.vw'} "
        f"--cache_file {work / 'train.cache'} -k --passes 3 --holdout_off -f {model}"
    )
    _run(f"{_OPTIONS} -t -i {model} -d {work / 'val.vw'} -p {work / 'predicted'}")
    labels = pl.read_parquet(prepared / "val.parquet", columns=["label"])["label"]
    lines = (work / "predicted").read_text(encoding="utf-8").split()
    positive = pl.Series(lines).cast(pl.Float64) > 0
    print((positive == (labels == 1)).mean())


def _run(options: str) -> None:
    workspace = vowpalwabbit.Workspace(options)
    workspace.finish()


def _write(source: Path, target: Path) -> None:
    """The texts in lower case as lines of Vowpal Wabbit's format, in an order of their own."""
    rows = pl.scan_parquet(source)
    height = rows.select(pl.len()).collect().item()
    words = pl.col("text").str.to_lowercase().str.replace_all(r"[|:\s]+", " ")
    sign = pl.when(pl.col("label") == 1).then(pl.lit("1 |t ")).otherwise(pl.lit("-1 |t "))
    with target.open("w", encoding="utf-8") as file:
        for start in range(0, height, _BATCH):
            lines = rows.slice(start, _BATCH).select(sign + words).collect().to_series()
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

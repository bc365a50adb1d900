"""A rival's batch loop: ``python -m tests.benchmarks.batch_rivals MODEL SOURCE TARGET``.

Batches are read and written by PyArrow in this process, and judged by as many others as there are
processors: neither fastText nor scikit-learn releases the GIL while it predicts.
"""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tests.benchmarks import rivals
from tests.benchmarks.measuring import THREADS

_BATCH: Final = 20_000
Judge = Callable[[list[str]], list[float]]
_judges: list[Judge] = []


def main() -> None:
    """Write the rows of SOURCE to TARGET with a column of margins or probabilities."""
    model, source, target = map(Path, sys.argv[1:])
    _judges.append(_judge_of(model))  # before the processes are forked, so that they share it
    write = _writer(target)
    with multiprocessing.get_context("fork").Pool(THREADS) as pool:
        for batch, found in pool.imap(_judge, _batches(source)):
            write(batch.append_column("probability", pa.array(found)))
        write(None)


def _judge(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[float]]:
    return batch, _judges[0](batch.column("text").to_pylist())


def _judge_of(model: Path) -> Judge:
    if model.suffix == ".fasttext":
        import fasttext

        opened = fasttext.load_model(str(model))
        return lambda texts: rivals.fasttext_probabilities(
            opened, rivals.fasttext_lines(texts)
        ).tolist()
    pipeline = pickle.loads(model.read_bytes())
    return lambda texts: pipeline.decision_function(texts).tolist()


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    if source.suffix == ".parquet":
        yield from pyarrow.parquet.ParquetFile(source).iter_batches(_BATCH)
    else:
        yield from pyarrow.csv.open_csv(source)


def _writer(target: Path) -> Callable[[pa.RecordBatch | None], None]:
    """Takes the batches, and None at the end."""
    opened: list[pyarrow.parquet.ParquetWriter | pyarrow.csv.CSVWriter] = []
    kind = pyarrow.parquet.ParquetWriter if target.suffix == ".parquet" else pyarrow.csv.CSVWriter

    def write(batch: pa.RecordBatch | None) -> None:
        if batch is None:
            opened[0].close()
            return
        if not opened:
            opened.append(kind(str(target), batch.schema))
        opened[0].write_batch(batch)

    return write


if __name__ == "__main__":
    main()

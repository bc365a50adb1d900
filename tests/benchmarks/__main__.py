"""``python -m tests.benchmarks [NAME...]``: measure, print one table, keep it as JSON.

Targets are printed as PASS or FAIL; the exit code is 0 unless something broke, because a busy
machine is not an error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tests.benchmarks import imdb, measuring, results
from tests.benchmarks.adaptation import adaptation
from tests.benchmarks.batch import batch
from tests.benchmarks.class_cost import class_cost
from tests.benchmarks.classes import classes
from tests.benchmarks.cluster import cluster
from tests.benchmarks.contest import Contest
from tests.benchmarks.doubts import doubts
from tests.benchmarks.drift import drift
from tests.benchmarks.labelling import labelling
from tests.benchmarks.losses import losses
from tests.benchmarks.memory import memory
from tests.benchmarks.preprocessing import preprocessing
from tests.benchmarks.results import Result
from tests.benchmarks.scale import scale
from tests.benchmarks.serving import serving

_BENCHMARKS: Final[dict[str, Callable[[Contest], Iterable[Result]]]] = {
    "preprocessing": preprocessing,
    "accuracy": imdb.accuracy,
    "training": imdb.training,
    "scoring": imdb.scoring,
    "agreement": imdb.agreement,
    "class_cost": class_cost,
    "serving": serving,
    "adaptation": adaptation,
    "labelling": labelling,
    "scale": scale,
    "batch": batch,
    "cluster": cluster,
    "doubts": doubts,
    "classes": classes,
    "losses": losses,
    "memory": memory,
    "drift": drift,
}
_ON_DEMAND: Final = {
    "adaptation",
    "batch",
    "classes",
    "cluster",
    "doubts",
    "labelling",
    "losses",
    "memory",
    "scale",
}
"""They take many minutes."""
_UNASKED: Final = [name for name in _BENCHMARKS if name not in _ON_DEMAND]
_BUSY: Final = 0.5
_REPORT: Final = Path(__file__).resolve().parents[1] / "artifacts" / "bench.json"


def main() -> int:
    """Run the benchmarks that are named, or all but those that take many minutes."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_BENCHMARKS))
    parser.add_argument("--repetitions", type=int, default=3, help="rounds of each timing")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(_BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; choose {', '.join(_BENCHMARKS)}")
    data = os.environ.get("OLENS_REAL_DATA", "")
    if not data or not Path(data).is_dir():
        _say(
            "The benchmarks need the real data: set OLENS_REAL_DATA to the folder with raw/ and "
            "benchmarks/. The sample is too small and too simple to compare anything on."
        )
        return 0
    processors = measuring.use_two_processors()
    busy = os.getloadavg()[0]
    if busy > _BUSY:
        _say(
            f"This machine is busy with other things (load {busy:.1f}): what uses both processors, "
            "as OpinionLens does, looks slower against what uses one."
        )
    contest = Contest(Path(data).resolve(), arguments.repetitions, _say)
    measured: list[Result] = []
    try:
        for name in arguments.names or _UNASKED:
            measured.extend(_BENCHMARKS[name](contest))
    finally:  # what was measured before something broke counts too
        results.print_table(measured)
        results.write_json(_REPORT, measured, processors, busy)
    return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

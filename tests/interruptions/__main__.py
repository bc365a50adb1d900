"""Ctrl-C in searches, kill -9 in first runs, two first runs at once: is anything lost or broken?

    OLENS_REAL_DATA=FOLDER python -m tests.interruptions [--presses 30] [--kills 30] [--pairs 10]
        [--subject random_forest] [--files 20] [--rows 2000000]

Without real data it takes the synthetic sample. `--files` kills runs of `olens predict --data` on a
file of `--rows` rows. Prints one line for each try and the counts.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.interruptions.campaign import Campaign
from tests.interruptions.files import KilledScoring


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interruptions")
    for name, count in (("presses", 30), ("kills", 30), ("pairs", 10), ("files", 20), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dataset", default="airline")
    parser.add_argument("--subject", default="nbsvm")
    given = parser.parse_args()
    # In the background a shell has it ignored, and so would be the searches.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data = os.environ.get("OLENS_REAL_DATA") or "the sample"
    print(f"seed {given.seed}, data: {data}", flush=True)
    with tempfile.TemporaryDirectory(prefix="olens-interruptions-") as folder:
        failed = kill_scoring(Path(folder), given.files, given.rows, random.Random(given.seed))
        if not given.presses + given.kills + given.pairs:
            return failed
        campaign = Campaign(Path(folder), given.dataset, given.subject, random.Random(given.seed))
        for kind in ("presses", "kills", "pairs"):
            outcomes = []
            for number in range(getattr(given, kind)):
                outcome = getattr(campaign, kind)(number)
                print(f"{kind} {number}: {outcome}", flush=True)
                outcomes.append(outcome)
            wrong = sum(outcome.startswith("WRONG") for outcome in outcomes)
            print(f"{kind}: {len(outcomes)} tried, {wrong} wrong", flush=True)
            failed += wrong
    return 1 if failed else 0


def kill_scoring(folder: Path, kills: int, rows: int, chance: random.Random) -> int:
    """Kill runs of `olens predict --data`, half of them into CSV; 1 if the result is another."""
    for output in (".csv", ".parquet") if kills else ():
        scoring = KilledScoring(folder, rows, output)
        print(f"files{output}: undisturbed {scoring.seconds:.1f} s", flush=True)
        try:
            for found in scoring.killed(kills // 2, chance):
                print(f"files{output}: {found}", flush=True)
        except AssertionError as error:
            print(f"files{output}: WRONG {error}", flush=True)
            return 1
        print(f"files{output}: {kills // 2} kills, the same file", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

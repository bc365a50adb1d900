"""Everything that may hurt the service, one after the other, and a table of tried and failed.

    python -m tests.chaos [--rounds 3] [WORD ...]

Words choose the attacks whose names hold one of them. The exit code is 1 if anything failed. Full
disks need root on Linux, and are left out elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Bomb, Outcome, run, target
from tests.chaos.full_disks import FULL_DISKS
from tests.chaos.hostile_clients import CLIENTS
from tests.chaos.hostile_models import MODELS
from tests.chaos.moments import MOMENTS

LINE = "{:<52} {:>6} {:>6} {:>8} {:>9} {:>10}"
BOMB = "{:<52} {:>10} {:>9}  {}"


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()

    def wanted(name: str) -> bool:
        return not given.words or any(word in name for word in given.words)

    attacks = {
        name: each
        for name, each in (CLIENTS | MODELS | MOMENTS | FULL_DISKS).items()
        if wanted(name)
    }
    print(LINE.format("attack", "tried", "failed", "seconds", "+MB", "others p99"), flush=True)
    with tempfile.TemporaryDirectory(prefix="olens-chaos-") as folder:
        outcomes = []
        with target(Path(folder)) as victim:
            for outcome in run(attacks, victim, given.rounds):
                print(LINE.format(*_cells(outcome)), flush=True)
                outcomes.append(outcome)
    _print_bombs(victim.bombs)
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    print("\n".join(failures))
    tried = sum(outcome.tried for outcome in outcomes)
    print(f"{tried} tried, {len(failures)} failed")
    return 1 if failures else 0


def _print_bombs(bombs: list[Bomb]) -> None:
    """The worst of each bomb: seconds of a processor, megabytes more than before, the answer."""
    worst: dict[str, Bomb] = {}
    for bomb in bombs:
        if bomb.name not in worst or bomb.seconds > worst[bomb.name].seconds:
            worst[bomb.name] = bomb
    print("\n" + BOMB.format("bomb", "CPU s", "+MB", "answer"))
    for bomb in worst.values():
        cells = bomb.name[:52], f"{bomb.seconds:.2f}", f"{bomb.megabytes:.0f}", bomb.answer[:90]
        print(BOMB.format(*cells))
    print()


def _cells(outcome: Outcome) -> tuple[object, ...]:
    memory = "" if outcome.megabytes is None else f"{outcome.megabytes:.0f}"
    p99 = "" if outcome.p99 is None else f"{outcome.p99 * 1000:.1f} ms"
    seconds = f"{outcome.seconds:.1f}"
    return outcome.name, outcome.tried, len(outcome.failures), seconds, memory, p99


if __name__ == "__main__":
    sys.exit(main())

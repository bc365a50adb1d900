"""Kill -9 while files are scored; `--resume` must give the file that an undisturbed run gives."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tests.integration.commands import OLENS, clean_environment

WORDS = ("lovely", "awful", "film", "waiter", "slow", "great", "cold", "never", "again", "superb")


def write_rows(target: Path, rows: int, seed: int = 1) -> None:
    """A CSV file of rows with about 100 characters; every thousandth cannot be read."""
    chance = random.Random(seed)
    with target.open("w", encoding="utf-8") as file:
        file.write("id,text\n")
        for row in range(rows):
            text = " ".join(chance.choices(WORDS, k=17))
            file.write(f'{row},"{text}" no\n' if row % 1_000 == 999 else f'{row},"{text}"\n')


class KilledScoring:
    """Runs of `olens predict --data` on one file.

    Parameters
    ----------
    folder : Path
        Where the file and the output are.
    rows : int
        Of the file.
    output : str
        Name of the output; its ending is its kind.
    """

    def __init__(self, folder: Path, rows: int, output: str) -> None:
        self._folder = folder
        self._output = output
        write_rows(folder / "rows.csv", rows)
        started = time.monotonic()
        self._finish(self._start("undisturbed"))
        self.seconds = time.monotonic() - started

    def killed(self, kills: int, chance: random.Random) -> Iterator[str]:
        """Kill at random moments, a run that was resumed too; says what was there each time."""
        for _ in range(kills):
            process = self._start("killed", "--resume")
            after = chance.uniform(0.3, self.seconds)
            time.sleep(after)
            process.kill()
            process.communicate()
            yield f"after {after:.1f} s: {self._there()}"
            if self._path("killed").exists():
                self._compare()
                self._path("killed").unlink()  # it was complete: the next kills hit a new run
                (self._folder / f"killed{self._output}.rejects.csv").unlink(missing_ok=True)
        self._finish(self._start("killed", "--resume"))
        self._compare()

    def _compare(self) -> None:
        killed, undisturbed = self._path("killed"), self._path("undisturbed")
        if self._output == ".parquet":
            assert pl.read_parquet(killed).equals(pl.read_parquet(undisturbed))
        else:
            assert killed.read_bytes() == undisturbed.read_bytes()

    def _there(self) -> str:
        state = self._folder / f".killed{self._output}.unfinished" / "00000" / "state.json"
        if self._path("killed").exists():
            return "complete"
        return state.read_text() if state.exists() else "nothing yet"

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{self._output}"

    def _start(self, name: str, *options: str) -> subprocess.Popen[str]:
        files = ["--data", "rows.csv", "--output", f"{name}{self._output}"]
        rejects = ["--rejects", f"{name}{self._output}.rejects.csv"]
        return subprocess.Popen(
            [*OLENS, "predict", "--model", "base", *files, *rejects, *options],
            cwd=self._folder,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _finish(self, process: subprocess.Popen[str]) -> None:
        _, err = process.communicate(timeout=900)
        assert process.returncode == 0, err

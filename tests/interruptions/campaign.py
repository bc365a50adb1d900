"""The tries of the campaign, each in processes of its own as a user would start them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import yaml

from pipelines.config.params import load_params
from pipelines.config.settings import load_settings
from pipelines.datasets.preparing import preprocess
from pipelines.training.features import vectorize
from tests.integration.commands import CHECKOUT, OLENS, clean_environment


class Campaign:
    """One project that was prepared once; first runs take a copy of it without databases.

    Parameters
    ----------
    folder : Path
        Where projects are made.
    dataset, subject : str
        What is trained, and on what.
    random : Random
        Decides on the moments.
    """

    def __init__(self, folder: Path, dataset: str, subject: str, random: random.Random) -> None:
        self._folder = folder
        self._job = ["--dataset", dataset, "--subject", subject]
        self._random = random
        self._project = folder / "project"
        (self._project / "data").mkdir(parents=True)
        shutil.copytree(CHECKOUT / "conf", self._project / "conf")
        declared = self._project / "conf" / "params.yaml"
        values = yaml.safe_load(declared.read_text())
        values["datasets"] = {dataset: values["datasets"][dataset]}
        declared.write_text(yaml.safe_dump(values))
        real = os.environ.get("OLENS_REAL_DATA")
        data = Path(real) / "raw" if real else CHECKOUT / "data" / "sample"
        (self._project / "data" / data.name).symlink_to(data)
        settings, params = load_settings(self._project), load_params(self._project)
        preprocess(settings, params, sample=not real)
        vectorize(settings, params)
        self._finish(self._start(self._project, "train"))  # compiles, makes the databases
        started = time.monotonic()
        self._finish(self._start(self._project, "tune", "--trials", "3"))
        self._search = time.monotonic() - started

    def presses(self, number: int) -> str:
        """Ctrl-C at a random moment of a search; says what came of it."""
        study = f"pressed-{number}"
        process = self._start(self._project, "tune", "--trials", "40", "--study", study)
        after = self._random.uniform(0.5, self._search)
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        code, out, err = self._finish(process)
        trials = sum("trial" in line and "accuracy 0." in line for line in err.splitlines())
        found = f"after {after:.1f} s and {trials} trials: exit code {code}"
        ended_early = "on train and validation texts" not in err
        wrong = [
            code not in (0, 130),
            "Traceback" in err,
            code == 0 and "Logged model m-" not in out,
            code == 130 and trials > 0 and ended_early,  # The best of them is not kept.
            self._running(self._project) > 0,
        ]
        return f"WRONG {found} {wrong}\n{err[-2000:]}" if any(wrong) else found

    def kills(self, number: int) -> str:
        """Kill -9 at a random moment of a first run; then the same command must work."""
        project = self._copy(f"killed-{number}")
        process = self._start(project, "tune", "--trials", "1")
        after = self._random.uniform(0.5, self._search)
        time.sleep(after)
        process.kill()
        process.communicate()
        there = sorted(path.name for path in (project / "mlruns").glob("*"))
        code, _, err = self._finish(self._start(project, "tune", "--trials", "1"))
        found = f"after {after:.1f} s ({', '.join(there)}): next exit code {code}"
        wrong = code != 0 or self._running(project) > 0
        shutil.rmtree(project)
        return f"WRONG {found}\n{err[-2000:]}" if wrong else found

    def pairs(self, number: int) -> str:
        """Two first runs at once; both must work."""
        project = self._copy(f"pair-{number}")
        both = [self._start(project, "tune", "--trials", "1") for _ in range(2)]
        ended = [self._finish(process) for process in both]
        found = f"exit codes {', '.join(str(code) for code, _, _ in ended)}"
        wrong = any(code for code, _, _ in ended) or self._running(project) > 0
        shutil.rmtree(project)
        errors = "\n".join(err[-1000:] for _, _, err in ended)
        return f"WRONG {found}\n{errors}" if wrong else found

    def _copy(self, name: str) -> Path:
        project = self._folder / name
        left_out = shutil.ignore_patterns("mlruns", "reports")
        return Path(shutil.copytree(self._project, project, symlinks=True, ignore=left_out))

    def _start(self, project: Path, command: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*OLENS, command, *self._job, *arguments],
            cwd=project,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    def _running(self, project: Path) -> int:
        """Runs and trials that claim to go on although nothing does."""
        queries = {"mlflow.db": "runs WHERE status", "optuna.db": "trials WHERE state"}
        found = 0
        for name, query in queries.items():
            if (file := project / "mlruns" / name).is_file():
                with closing(sqlite3.connect(file)) as connection:
                    count = f"SELECT count(*) FROM {query} = 'RUNNING'"
                    found += connection.execute(count).fetchone()[0]
        return found

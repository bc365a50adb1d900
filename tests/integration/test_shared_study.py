"""Several machines at one study in a PostgreSQL database, one of which dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import optuna
import pytest
from optuna.trial import TrialState

from pipelines.registry.tracking import PROCESS_TAG
from pipelines.training import tuning
from pipelines.training.tuning import Plan, TuneResult, tune
from tests.integration.commands import clean_environment
from tests.integration.services import postgres
from tests.integration.training_project import TrainingProject, wait_for_line
from tests.support import PATIENCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.usefixtures("without_figures"),
]

# A machine of another name, whose trials take long and which gives signs of life often.
ELSEWHERE = """
import socket, sys, time
socket.gethostname = lambda: "elsewhere"
from pipelines.training import trials, tuning
tuning._HEARTBEAT, tuning._GRACE = 1, 4
quick, seconds = trials.fit_classifier, float(sys.argv.pop(1))
def slow(*given):
    time.sleep(seconds)
    return quick(*given)
trials.fit_classifier = slow
from opinionlens_cli.main import run
run()
"""


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with postgres() as uri:
        monkeypatch.setenv("OLENS_OPTUNA__STORAGE", uri)
        monkeypatch.setattr(tuning, "_HEARTBEAT", 1)
        monkeypatch.setattr(tuning, "_GRACE", 4)
        yield uri


def elsewhere(
    project: TrainingProject, uri: str, seconds: float, *arguments: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(seconds), "tune", "--dataset", "airline", *arguments],
        cwd=project.root,
        env=clean_environment(OLENS_OPTUNA__STORAGE=uri),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def resume(project: TrainingProject, study: str, trials: int) -> TuneResult:
    plan = Plan(trials=trials, timeout=None, jobs=1, metric="accuracy", study=study, resume=True)
    return tune(project.settings, project.params, "nbsvm", plan, ["airline"])


def test_a_machine_that_dies_leaves_no_running_trial(
    training_project: TrainingProject, storage: str
) -> None:
    other = elsewhere(training_project, storage, 1.0, "--study", "both", "--trials", "500")
    wait_for_line(other, "trial 1/500")
    working = resume(training_project, "both", 3)
    assert working.failed == 0  # what the other machine is at goes on

    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    study = optuna.load_study(study_name="both", storage=storage)
    before = study.get_trials(deepcopy=False)
    assert [trial.state for trial in before].count(TrialState.RUNNING) == 1

    finished = working.tuned.trials
    result = resume(training_project, "both", finished + 1)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    assert TrialState.RUNNING not in states
    assert states.count(TrialState.FAIL) == result.failed == 1
    lost = next(t for t in study.get_trials(deepcopy=False) if t.state == TrialState.FAIL)
    experiments = [found.experiment_id for found in training_project.client.search_experiments()]
    left = [
        run
        for run in training_project.client.search_runs(experiments)
        if run.data.tags.get(PROCESS_TAG) == lost.user_attrs["process"]
    ]
    [own] = [run for run in left if "mlflow.parentRunId" not in run.data.tags]
    assert own.info.status == "KILLED"
    assert not [run for run in left if run.info.status == "RUNNING"]
    # Each machine has a run of its own.
    assert training_project.client.get_run(working.tuned.run_id).info.status == "FINISHED"


def test_two_machines_share_the_trials(training_project: TrainingProject, storage: str) -> None:
    other = elsewhere(training_project, storage, 0.3, "--study", "shared", "--trials", "8")
    wait_for_line(other, "trial 1/8")
    result = resume(training_project, "shared", 8)
    out, err = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, err
    assert "Logged model" in out
    study = optuna.load_study(study_name="shared", storage=storage)
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert 8 <= len(study.trials) <= 9
    hosts = {trial.user_attrs["process"].split()[0] for trial in study.trials}
    assert len(hosts) == 2
    assert result.tuned.value <= study.best_value

"""Scoring, tuning and training on a Ray cluster, of which a node is killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
from optuna.trial import FrozenTrial, TrialState
from scipy.sparse import csr_matrix

from pipelines.base_model.opening import base_model, open_base
from pipelines.batch import ray_scoring
from pipelines.batch.ray_scoring import RayScoringRun
from pipelines.batch.scoring import Job, ScoringRun
from pipelines.text.vectorizer import TermWeighting
from pipelines.training.linear import LinearSVM
from pipelines.training.spreading import RayWorkers, Ref, ray_workers, spread
from pipelines.training.tuning import Plan, tune
from tests.clusters import kill_node, ray_nodes
from tests.integration.commands import Olens
from tests.integration.services import postgres
from tests.integration.training_project import TrainingProject
from tests.interruptions.files import write_rows
from tests.unit.training.corpus import word_counts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Of two nodes; a test adds the third, which it kills."""
    with ray_nodes(2) as nodes:
        yield nodes


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files of all kinds, one with broken rows, one in a folder below, one without rows."""
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    write_rows(folder / "a.csv", 2_000)
    frame = pl.DataFrame(
        {
            "text": ["A lovely film", None, "  ", "Cold food"],
            "stars": [5, 1, None, 2],
            "tags": [["x"], [], None, ["y", "z"]],
        }
    )
    frame.write_parquet(folder / "deeper" / "b.parquet")
    lines = [{"text": "Great", "n": 1}, {"text": "Awful, never again", "more": {"deep": [1]}}]
    (folder / "c.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "d.csv").write_text("text,n\n")
    return folder


def test_a_cluster_writes_the_rows_that_one_process_writes(
    olens: Olens, cluster: Any, files: Path, tmp_path: Path
) -> None:
    given = ["predict", "--model", "base", "--data", str(files), "--format", "jsonl", "--json"]
    rejects = tmp_path / "rejects.csv"
    here = olens(*given, "--output", f"{tmp_path}/here/", "--rejects", str(rejects))
    expected = rejects.read_text()
    rejects.unlink()
    ray = ["--engine", "ray", "--address", cluster.address, "--output", f"{tmp_path}/there/"]
    there = olens(*given, *ray, "--rejects", str(rejects))

    assert here.code == there.code == 0, there.err
    said, expected_said = json.loads(there.out), json.loads(here.out)
    for key in ("rows", "left_out", "model"):
        assert said[key] == expected_said[key]
    assert sorted(said["data"]) == sorted(expected_said["data"])
    assert rejects.read_text() == expected
    for name in ("a", "deeper/b", "c"):
        parts = sorted((tmp_path / "there").glob(f"{name}-*.jsonl"))
        assert [str(part) for part in parts] == [
            file for file in said["files"] if Path(file).stem.startswith(f"{Path(name).name}-")
        ]
        alone = tmp_path / "here" / f"{name}.jsonl"
        assert b"".join(part.read_bytes() for part in parts) == alone.read_bytes()
    done = json.loads((tmp_path / "there" / "_SUCCESS").read_text())
    assert done["files"] == said["files"]

    again = olens(*given, *ray)
    assert again.code == 1
    assert "is there already" in again.message
    wrong = olens(*given, *ray, "--overwrite", "--text-column", "missing")
    assert wrong.code == 1
    assert "missing" in wrong.message
    assert "Traceback" not in wrong.err


def test_what_a_cluster_cannot_do_is_one_line(olens: Olens, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 10)
    given = ["predict", "--model", "base", "--data", str(tmp_path / "rows.csv"), "--engine", "ray"]
    file = olens(*given, "--output", str(tmp_path / "out.csv"))
    resumed = olens(*given, "--output", f"{tmp_path}/out/", "--resume")
    local = olens(*given[:-2], "--output", f"{tmp_path}/out/", "--address", "auto")
    outside = olens(*given, "--output", f"{tmp_path}/out/", "--address", "ray://127.0.0.1:1")
    assert (file.code, resumed.code, local.code, outside.code) == (1, 1, 2, 1)
    assert "does not work through ray://" in outside.message
    assert "writes a folder of parts" in file.message
    assert "--resume is not for --engine ray" in resumed.message
    assert "goes with --engine ray" in local.message


def test_an_address_without_a_cluster_is_one_line(
    olens: Olens, cluster: Any, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv", 10)
    given = ["predict", "--model", "base", "--data", str(tmp_path / "rows.csv"), "--engine", "ray"]
    found = olens(*given, "--output", f"{tmp_path}/out/", "--address", "127.0.0.1:1")
    assert found.code == 1
    assert "Ray cluster 127.0.0.1:1 cannot be reached" in found.message


def test_scoring_goes_on_when_a_node_is_killed(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_scoring, "_BLOCK", 1 << 20)
    cluster.add_node(num_cpus=2)
    (tmp_path / "in").mkdir()
    for number in range(4):
        write_rows(tmp_path / "in" / f"{number}.csv", 50_000, seed=number)
    job = Job(data=str(tmp_path / "in"), output=f"{tmp_path}/there/", kind="Parquet")
    given = open_base(), base_model().id
    killed = []

    def kill_once(rows: int, share: float) -> None:
        if share > 0.3 and not killed:
            killed.append(rows)
            kill_node(cluster)

    run = RayScoringRun(*given, job, tmp_path, cluster.address)
    report = run.run(resume=False, overwrite=False, on_progress=kill_once)
    here = Job(data=job.data, output=f"{tmp_path}/here/", kind="Parquet")
    alone = ScoringRun(*given, here, tmp_path).run(resume=False, overwrite=False)

    assert 0 < killed[0] < 150_000
    assert (report.rows, report.left_out) == (alone.rows, alone.left_out)
    assert len(report.files) > 8
    for number in range(4):
        parts = pl.read_parquet(tmp_path / "there" / f"{number}-*.parquet")
        assert parts.equals(pl.read_parquet(tmp_path / "here" / f"{number}.parquet"))


@pytest.mark.postgres
def test_tuning_goes_on_when_a_node_is_killed(
    training_project: TrainingProject, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_node(num_cpus=2)
    killed = []

    def kill_once(study: optuna.Study, trial: FrozenTrial) -> None:
        if not killed:
            killed.append(trial.number)
            kill_node(cluster)

    with postgres() as uri:
        monkeypatch.setenv("OLENS_OPTUNA__STORAGE", uri)
        plan = Plan(
            trials=6,
            timeout=None,
            jobs=3,
            metric="accuracy",
            study="spread",
            engine="ray",
            address=cluster.address,
        )
        result = tune(
            training_project.settings,
            training_project.params,
            "nbsvm",
            plan,
            ["airline"],
            on_trial=kill_once,
        )
        states = [
            trial.state for trial in optuna.load_study(study_name="spread", storage=uri).trials
        ]
    assert killed
    assert (result.tuned.trials, result.failed, result.interrupted) == (6, 0, False)
    assert not {TrialState.RUNNING, TrialState.FAIL} & set(states)
    assert result.tuned.test["test"].accuracy > 0.7


def test_training_over_a_cluster_is_as_good_as_here(
    olens: Olens,
    cluster: Any,
    training_project: TrainingProject,
    monkeypatch: pytest.MonkeyPatch,
    without_figures: None,
) -> None:
    monkeypatch.setenv("OLENS_ROOT", str(training_project.root))
    given = ["train", "--dataset", "airline", "--log-model", "--json"]
    here = olens(*given)
    there = olens(*given, "--engine", "ray", "--address", cluster.address)
    assert here.code == there.code == 0, there.err
    one, spread = json.loads(here.out), json.loads(there.out)
    assert spread["parameters"] == one["parameters"]
    assert spread["test"].keys() == one["test"].keys()
    for metrics, expected in (
        (spread["validation"], one["validation"]),
        (spread["test"]["test"], one["test"]["test"]),
    ):
        assert metrics["accuracy"] == pytest.approx(expected["accuracy"], abs=0.02)
        assert metrics["log_loss"] == pytest.approx(expected["log_loss"], abs=0.02)
    judged = olens("predict", "--model", spread["model_id"], "--json", "A lovely flight")
    assert json.loads(judged.out)[0]["model"] == spread["model_id"]


@pytest.mark.parametrize(
    "given", [["--subject", "random_forest"], ["--subject", "complement_nb"], ["--from", "base"]]
)
def test_what_a_cluster_cannot_train_is_one_line(olens: Olens, given: list[str]) -> None:
    found = olens("train", "--dataset", "airline", "--engine", "ray", *given)
    assert found.code == 1
    assert "--engine ray cannot fit" in found.message
    local = olens("train", "--dataset", "airline", "--address", "auto")
    assert local.code == 2
    assert "goes with --engine ray" in local.message


def test_a_solution_is_the_same_when_a_node_is_killed(cluster: Any) -> None:
    cluster.add_node(num_cpus=2)
    data = word_counts(3_000, seed=0)
    weighting = TermWeighting("tfidf").fit(data.counts)
    asked: list[bool] = []

    def kill_half_way() -> None:
        if len(asked) == half:
            kill_node(cluster)

    def solved(workers: RayWorkers, on_value: Callable[[], None]) -> LinearSVM:
        get = workers.get

        def watched(ref: Ref) -> object:
            asked.append(True)
            on_value()
            return get(ref)

        asked.clear()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(workers, "get", watched)
            parts = spread(workers, partial(_some, data.counts), *data.counts.shape)
            return LinearSVM(random_state=0).fit(weighting.transform(parts), data.labels)

    with ray_workers(cluster.address) as workers:
        workers.count = 3
        undisturbed = solved(workers, lambda: None)
        half = len(asked) // 2
        again = solved(workers, kill_half_way)
    assert len(asked) >= 2 * half > 20
    assert np.array_equal(again.coef_, undisturbed.coef_)


def _some(rows: csr_matrix, begin: int, end: int) -> csr_matrix:
    return rows[begin:end]

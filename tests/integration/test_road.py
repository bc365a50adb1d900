"""The whole road, as its users walk it: sample to served verdict, two machines, real data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

from tests.integration.commands import CHECKOUT, clean_environment, invoke
from tests.integration.services import RegistryServer, mlflow_server, postgres
from tests.serving import serve
from tests.support import PATIENCE, real_data

TEXTS = ["A lovely, quiet film. I loved every minute!", "Awful. It broke after two days."]


def make_project(root: Path) -> Path:
    """A project folder with the shipped configuration and nothing else."""
    shutil.copytree(CHECKOUT / "conf", root / "conf")
    return root


def olens(root: Path, *arguments: str, **variables: str) -> str:
    """Run the command in `root`; returns standard output."""
    done = invoke(*arguments, folder=root, environment=clean_environment(**variables))
    assert done.code == 0, done.err
    return done.out


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which quickstart has run with the sample."""
    root = make_project(tmp_path_factory.mktemp("quickstart"))
    (root / "data").mkdir()
    shutil.copytree(CHECKOUT / "data" / "sample", root / "data" / "sample")
    olens(root, "quickstart", "--no-serve")
    return root


@pytest.mark.slow
def test_quickstart_says_that_the_sample_is_synthetic_and_picks_up_what_is_there(
    walked: Path,
) -> None:
    files = {path: path.stat().st_mtime_ns for path in (walked / "data" / "prepared").rglob("*.*")}
    runs = (walked / "mlruns" / "mlflow.db").stat().st_mtime_ns
    again = json.loads(olens(walked, "quickstart", "--no-serve", "--json"))
    assert again["sample"] is True
    assert again["model"] == "opinionlens-base-v1"
    assert "not on made-up ones" in again["steps"][-1]["result"]
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert (walked / "mlruns" / "mlflow.db").stat().st_mtime_ns == runs
    models = json.loads(olens(walked, "models", "list", "--json"))
    assert [model["version"] for model in models if model["name"] == "opinionlens"] == [1]
    assert "synthetic" in olens(walked, "quickstart", "--no-serve")


@pytest.mark.slow
def test_quickstart_uses_raw_data_where_there_are_any(walked: Path, tmp_path: Path) -> None:
    root = make_project(tmp_path)
    (root / "data" / "raw").mkdir(parents=True)
    tweets = "Airline Tweets"
    shutil.copytree(walked / "data" / "sample" / tweets, root / "data" / "raw" / tweets)
    done = json.loads(olens(root, "quickstart", "--no-serve", "--json"))
    assert done["sample"] is False
    assert done["model"] == "opinionlens-v1", "the model that was trained on these data answers"
    results = {step["name"]: step["result"] for step in done["steps"]}
    assert "is active: it was trained on the texts in data/raw" in results["fetch"]
    assert [path.name for path in (root / "data" / "prepared").iterdir()] == ["airline"]


@pytest.mark.slow
def test_the_trained_model_is_evaluated_on_a_file_of_ones_own(walked: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("body,stars\nA lovely film,positive\nAwful and broken,negative\n")
    columns = ("--text-column", "body", "--label-column", "stars")
    found = json.loads(olens(walked, "evaluate", "latest", "--data", str(mine), *columns, "--json"))
    metrics = found["metrics"]["file"]
    assert metrics["n"] == 2
    assert {"accuracy", "f1", "roc_auc", "log_loss", "ece"} <= metrics.keys()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as uri:
        yield uri


@pytest.mark.slow
@pytest.mark.postgres
def test_a_model_is_used_on_another_machine_without_the_registry(
    walked: Path, database: str, tmp_path: Path
) -> None:
    """Register from local SQLite into a server on PostgreSQL, fetch elsewhere, lose the server."""
    elsewhere = make_project(tmp_path / "elsewhere")
    with mlflow_server(tmp_path, database) as registry:
        remote = access(registry)
        logged = olens(walked, "register", "latest", "travelled", "--alias", "champion", **remote)
        assert "travelled" in logged
        olens(elsewhere, "fetch", "travelled", "--alias", "champion", "--activate", **remote)
        with serve(elsewhere, env=remote) as service:
            answered = ask(service.url)
    # The registry is gone. A server that starts now has only its cache.
    with serve(elsewhere, env=remote) as service:
        assert ask(service.url) == answered
    assert {answer["model"] for answer in answered} == {"travelled-v1"}
    here = json.loads(olens(walked, "predict", *TEXTS, "--model", "latest", "--json"))
    assert [a["prediction"] for a in answered] == [a["prediction"] for a in here]


def access(registry: RegistryServer) -> dict[str, str]:
    """The variables that name a registry and its account."""
    return {
        "OLENS_MLFLOW__REGISTRY_URI": registry.uri,
        "OLENS_MLFLOW__REGISTRY_USERNAME": registry.username,
        "OLENS_MLFLOW__REGISTRY_PASSWORD": registry.password,
    }


def ask(url: str) -> list[dict[str, object]]:
    """The service's answers to `TEXTS`."""
    answers = httpx.post(f"{url}/api/v1/inference/batch_predict", json=TEXTS, timeout=PATIENCE)
    assert answers.status_code in {200, 201}, answers.text
    return answers.json()


@pytest.mark.slow
@pytest.mark.real_data
def test_dvc_reproduces_the_stages_on_real_data_once(tmp_path: Path) -> None:
    """Preprocess to evaluate on data sets as they come, of the largest a part.

    A second `dvc repro` runs nothing.
    """
    root = make_project(tmp_path)
    parameters = root / "conf" / "params.yaml"
    parameters.write_text(parameters.read_text().replace("trials: 10", "trials: 2"))
    raw = real_data() / "raw"
    (root / "data").mkdir()
    # Links: DVC need only read them.
    shutil.copytree(raw, root / "data" / "raw", copy_function=os.symlink)
    reviews = root / "data" / "raw" / "IMDB Dataset" / "IMDB Dataset.csv"
    some = pl.read_csv(reviews, n_rows=5_000)
    reviews.unlink()
    some.write_csv(reviews)
    shutil.copy(CHECKOUT / "dvc.yaml", root)
    shutil.copytree(CHECKOUT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)

    first = repro(root)
    assert "Running stage 'evaluate'" in first
    assert "Running stage" not in repro(root)

    report = json.loads((root / "data" / "reports" / "metrics.json").read_text())
    assert report["slices"]["imdb"] >= 0.87
    tuned = json.loads((root / "data" / "reports" / "tuned.json").read_text())
    assert tuned["trials"] == 2


def repro(root: Path) -> str:
    """Run `dvc repro` with the `olens` of this environment."""
    folder = Path(sys.executable).parent
    done = subprocess.run(
        [str(folder / "dvc"), "repro"],
        cwd=root,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

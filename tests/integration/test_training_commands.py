"""`olens vectorize`, `train`, `baselines`, `evaluate` and `predict` as their users meet them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
import yaml

from pipelines.inference.compiling import fuse
from pipelines.registry.logged_models import TrackingStore
from pipelines.training.persistence import load_pipeline
from pipelines.training.reports import read_baselines
from pipelines.training.text_profile import read_profile
from tests.integration.commands import Olens
from tests.integration.training_project import TrainingProject, make_project, olens

__all__ = ["olens"]

pytestmark = pytest.mark.usefixtures("without_figures")

TRAIN = ("train", "--dataset", "airline")


@pytest.fixture(scope="module")
def model_id(training_project: TrainingProject) -> str:
    from pipelines.training.runs import train

    result = train(
        training_project.settings, training_project.params, "nbsvm", {}, ["airline"], log_model=True
    )
    assert result.model_id is not None
    return result.model_id


class TestVectorize:
    def test_prints_a_table_and_leaves_features(
        self, training_project: TrainingProject, olens: Olens
    ) -> None:
        done = olens("vectorize", "imdb")
        assert done.code == 0
        assert "imdb" in done.out
        folder = training_project.settings.paths.features / "imdb"
        assert {path.name for path in folder.iterdir()} == {
            "train-0000.npz",
            "val-0000.npz",
            "test-0000.npz",
            "vectorizer.json",
        }

    def test_as_json(self, olens: Olens) -> None:
        found = json.loads(olens("vectorize", "airline", "--json").out)
        expected = {"ngram_max": 2, "bits": 16, "char_max": 0, "language": "en"}
        assert found["airline"]["vectorizer"] == expected
        assert found["airline"]["rows"]["train"] > found["airline"]["rows"]["test"] > 0

    def test_an_unknown_data_set(self, olens: Olens) -> None:
        done = olens("vectorize", "imbd")
        assert done.code == 1
        assert "imbd" in done.err
        assert "imdb" in done.err


class TestTrain:
    def test_prints_metrics_and_what_comes_next(self, olens: Olens) -> None:
        done = olens(*TRAIN, "--subject", "logistic_regression", "-p", "C=0.5")
        assert done.code == 0, done.err
        assert "validation" in done.out
        assert "--log-model" in done.out

    def test_as_json(self, training_project: TrainingProject, olens: Olens) -> None:
        done = olens(*TRAIN, "--subject", "logistic_regression", "-p", "C=2", "--json")
        found = json.loads(done.out)
        assert found["parameters"]["C"] == 2
        assert found["parameters"]["scheme"] == "tfidf"
        assert found["model_id"] is None
        run = training_project.client.get_run(found["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.params["C"] == "2"
        assert run.data.metrics["val.accuracy"] == found["validation"]["accuracy"]

    def test_a_logged_model_has_metrics_of_the_test_slices(
        self, training_project: TrainingProject, model_id: str
    ) -> None:
        logged = training_project.client.get_logged_model(model_id)
        names = {metric.key for metric in logged.metrics}
        assert {"test.accuracy", "slices.short.accuracy", "slices.airline.roc_auc"} <= names
        assert not any(name.startswith("slices.imdb") for name in names)

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["--subject", "nbsvmm"], 1, "no subject 'nbsvmm'"),
            (["-p", "c=1"], 1, "no parameter 'c'"),
            (["-p", "C=big"], 1, "expects float"),
            (["-p", "C=-1"], 1, "C must be positive"),
            (["-p", "C"], 2, "NAME=VALUE"),
            (["-p", "=1"], 2, "NAME=VALUE"),
            (["--subject", "logistic_regression", "-p", "scheme=bm25"], 1, "scheme must be"),
            (["--subject", "knn", "-p", "n_neighbors=9999"], 1, "knn cannot be fitted"),
            (["--dataset", "imbd"], 1, "imbd"),
            (["--no-such-option"], 2, "No such option"),
        ],
    )
    def test_wrong_input(self, olens: Olens, arguments: list[str], code: int, message: str) -> None:
        done = olens(*TRAIN, *arguments)
        assert done.code == code
        assert message in " ".join(done.err.split())
        assert "Traceback" not in done.err
        assert done.out == ""

    def test_a_run_that_fails_is_marked_so(
        self, training_project: TrainingProject, olens: Olens
    ) -> None:
        olens(*TRAIN, "-p", "C=-1")
        experiment = training_project.client.get_experiment_by_name("opinionlens")
        (newest,) = training_project.client.search_runs([experiment.experiment_id], max_results=1)
        assert newest.info.status == "FAILED"


class TestUnpreparedProjects:
    @pytest.fixture
    def bare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, olens: Olens) -> Path:
        project = make_project(tmp_path / "bare", {"ngram_max": 1, "bits": 12})
        monkeypatch.setenv("OLENS_ROOT", str(project.root))
        return project.root

    @pytest.mark.parametrize("command", ["vectorize", "train", "tune", "baselines", "evaluate"])
    def test_nothing_is_prepared(self, bare: Path, olens: Olens, command: str) -> None:
        done = olens(command)
        assert done.code == 1
        assert "olens preprocess" in done.err or "olens t" in done.err
        assert "Traceback" not in done.err
        assert not (bare / "data" / "features").exists()
        assert not (bare / "data" / "reports").exists()

    def test_no_project(self, bare: Path, olens: Olens) -> None:
        (bare / "conf" / "params.yaml").unlink()
        done = olens("train")
        assert done.code == 1
        assert "params.yaml: there is no such file" in done.err

    def test_slices_are_missing(
        self, bare: Path, training_project: TrainingProject, olens: Olens
    ) -> None:
        shutil.copytree(training_project.settings.paths.prepared, bare / "data" / "prepared")
        shutil.rmtree(bare / "data" / "prepared" / "slices", ignore_errors=True)
        done = olens("train", "--log-model")
        assert done.code == 1
        assert "there are no slices" in done.err
        assert "fitting" not in done.err

    def test_damaged_prepared_data(
        self, bare: Path, training_project: TrainingProject, olens: Olens
    ) -> None:
        shutil.copytree(training_project.settings.paths.prepared, bare / "data" / "prepared")
        (bare / "data" / "prepared" / "imdb" / "train.parquet").write_bytes(b"PAR1")
        done = olens("train")
        assert done.code == 1
        assert "train.parquet is damaged" in done.err


class TestTune:
    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["--resume"], 2, "say which study to resume"),
            (["--resume", "--study", "never"], 1, "no study 'never' to resume"),
            (["--subject", "x"], 1, "no subject 'x'"),
            (["--trials", "0"], 2, "trials"),
            (["--jobs", "0"], 2, "jobs"),
            (["--trials", "many"], 2, "valid integer"),
        ],
    )
    def test_wrong_input(self, olens: Olens, arguments: list[str], code: int, message: str) -> None:
        done = olens("tune", "--dataset", "airline", *arguments)
        assert done.code == code
        assert message in " ".join(done.err.split())
        assert "Traceback" not in done.err


class TestBaselines:
    def test_are_nested_runs_and_a_report(
        self, training_project: TrainingProject, olens: Olens
    ) -> None:
        found = json.loads(olens("baselines", "--dataset", "airline", "--json").out)
        assert len(found["metrics"]) == 3
        experiment = training_project.client.get_experiment_by_name("opinionlens")
        children = training_project.client.search_runs(
            [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{found['run_id']}'"
        )
        assert {child.info.run_name for child in children} == set(found["metrics"])
        for child in children:
            accuracy = found["metrics"][child.info.run_name]["test"]["accuracy"]
            assert child.data.metrics["test.accuracy"] == accuracy
        assert len(read_baselines(training_project.settings, ["airline"])) == 3
        assert read_baselines(training_project.settings, ["imdb"]) == {}


class TestEvaluate:
    def test_on_the_slices(
        self, training_project: TrainingProject, olens: Olens, model_id: str
    ) -> None:
        done = olens("evaluate", model_id, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert found["model"] == model_id
        assert {"test", "short", "long", "imdb", "airline"} <= found["metrics"].keys()
        report = training_project.settings.paths.reports / "evaluation.json"
        assert json.loads(report.read_text()) == found

    @pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
    def test_on_a_file(self, olens: Olens, model_id: str, tmp_path: Path, ending: str) -> None:
        rows = pl.DataFrame(
            {
                "body": [
                    "Lovely crew, thanks!",
                    "Rude, late, awful",
                    "Great flight",
                    "Never again",
                ],
                "mood": ["positive", "NEGATIVE", " Positive ", "negative"],
            }
        )
        path = tmp_path / f"mine.{ending}"
        write = {"csv": rows.write_csv, "parquet": rows.write_parquet, "jsonl": rows.write_ndjson}
        write[ending](path)
        done = olens(
            "evaluate", model_id, "--data", str(path), "--text-column", "body",
            "--label-column", "mood", "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        metrics = json.loads(done.out)["metrics"]["file"]
        assert metrics.keys() >= {"accuracy", "f1", "roc_auc", "log_loss", "ece", "n"}
        assert (metrics["n"], metrics["positives"]) == (4, 2)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("text,label\nfine,positive\nodd,maybe\n", "maybe"),
            ("text,label\n", "No row has a label"),
            (None, "mine.csv"),
        ],
        ids=["unknown label", "empty", "no file"],
    )
    def test_files_that_cannot_be_used(
        self, olens: Olens, model_id: str, tmp_path: Path, content: str | None, message: str
    ) -> None:
        path = tmp_path / "mine.csv"
        if content is not None:
            path.write_text(content)
        done = olens("evaluate", model_id, "--data", str(path))
        assert done.code == 1
        assert message in done.err
        assert "Traceback" not in done.err

    def test_a_model_that_does_not_exist(self, olens: Olens, model_id: str) -> None:
        done = olens("evaluate", "m-0123456789abcdef0123456789abcdef")
        assert done.code == 1
        assert "m-0123456789abcdef0123456789abcdef" in done.err
        assert "Traceback" not in done.err


class TestPredict:
    def test_texts(self, olens: Olens, model_id: str) -> None:
        done = olens("predict", "Lovely crew, thank you!", "Rude and late", "--model", model_id)
        assert done.code == 0, done.err
        verdicts = [line.split()[0] for line in done.out.splitlines()]
        assert verdicts == ["POSITIVE", "NEGATIVE"]

    def test_as_json(self, olens: Olens, model_id: str) -> None:
        texts = ["😀", "<br>", "[red]markup[/]"]
        found = json.loads(olens("predict", *texts, "--model", "latest", "--json").out)
        assert [verdict["text"] for verdict in found] == texts
        assert all(0.5 <= verdict["confidence"] <= 1 for verdict in found)
        assert {verdict["model"] for verdict in found} == {model_id}

    def test_standard_input(self, olens: Olens, model_id: str) -> None:
        lines = "Lovely crew\n\nRude \u2028 and late\n\ud800".encode("utf-8", "surrogatepass")
        found = json.loads(olens("predict", "--model", model_id, "--json", stdin=lines).out)
        assert found[0]["text"] == "Lovely crew"
        assert len(found) == 3

    def test_a_model_that_does_not_exist(self, olens: Olens, model_id: str) -> None:
        done = olens("predict", "good", "--model", "nosuch-v1")
        assert done.code == 1
        assert "nosuch-v1" in done.err


class TestFrom:
    def test_a_model_that_starts_from_another_is_a_model_like_any_other(
        self, training_project: TrainingProject, olens: Olens
    ) -> None:
        done = olens(*TRAIN, "--from", "base", "--log-model", "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert found["start"] == "base"
        assert found["learnt"] in {"start", "scratch", "adapted"}
        assert found["rivals"].keys() == {"base", "from scratch"}
        params = training_project.client.get_run(found["run_id"]).data.params
        assert params["from"] == "base"
        assert params["C"] == str(found["parameters"]["C"])
        logged = training_project.client.get_logged_model(found["model_id"])
        assert logged.params["from"] == "base"
        with TrackingStore(training_project.settings.mlflow).files(
            TrackingStore(training_project.settings.mlflow).find(found["model_id"])
        ) as folder:
            card = (folder / "model_card.md").read_text()
            pipeline = load_pipeline(folder)
            assert read_profile(folder)
        assert '`from="base"`' in card
        assert "| from scratch |" in card
        scorer = fuse(pipeline)
        assert scorer
        texts = ["Lovely crew, on time", "They lost my bag and were rude", ""]
        expected = pipeline.predict_proba(texts)[:, 1]
        np.testing.assert_allclose(scorer.predict(texts)[1], expected, atol=1e-6)
        again = olens(*TRAIN, "--from", found["model_id"], "-p", "C=1", "-p", "scale=1")
        assert again.code == 0, again.err
        assert "validation, from scratch" in again.out
        assert f"chose {found['model_id']} and your texts together" in " ".join(again.out.split())

    def test_a_study_tries_the_start_and_a_model_from_scratch_first(
        self, training_project: TrainingProject, olens: Olens
    ) -> None:
        options = ("--dataset", "airline", "--trials", "3", "--from", "base", "--json")
        done = olens("tune", *options)
        assert done.code == 0, done.err
        tuned = json.loads(done.out)["tuned"]
        assert (tuned["start"], tuned["subject"]) == ("base", "nbsvm from base")
        study = optuna.load_study(
            study_name=tuned["study"], storage=training_project.settings.optuna.storage
        )
        assert [trial.params["C"] == 0 for trial in study.trials[:2]] == [True, False]
        assert [trial.params["scale"] for trial in study.trials[:2]] == [1.0, 0.0]
        assert tuned["parameters"] == study.best_params

    def test_the_start_can_be_named_in_the_parameters(
        self, training_project: TrainingProject, olens: Olens
    ) -> None:
        path = training_project.root / "conf" / "params.yaml"
        before = path.read_text()
        values = yaml.safe_load(before)
        values["train"] = {"from": "base", "params": {"scale": 1, "C": 0}}
        path.write_text(yaml.safe_dump(values))
        try:
            found = json.loads(olens(*TRAIN, "--json").out)
        finally:
            path.write_text(before)
        assert (found["start"], found["learnt"]) == ("base", "start")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--subject", "linear_svc"], "only nbsvm can"),
            (["-p", "smoothing=1"], "it has: scale, C, ratios"),
            (["-p", "scale=big"], "scale must be 0 or more, not 'big'"),
            (["--from", "nothing"], "There is no model nothing"),
            (["--from", "base3"], "and base3 has NEGATIVE, NEUTRAL, POSITIVE"),
        ],
    )
    def test_wrong_input(self, olens: Olens, arguments: list[str], message: str) -> None:
        done = olens(*TRAIN, "--from", "base", *arguments)
        assert done.code == 1
        assert message in " ".join(done.err.split())

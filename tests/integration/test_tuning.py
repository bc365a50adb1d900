"""Studies, with real trials on the sample: nested runs, pruning, resuming, being killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import mlflow
import numpy as np
import optuna
import polars as pl
import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import loading

from pipelines.errors import TrainingError
from pipelines.inference.compiling import fuse
from pipelines.inference.profiling import profile_pipeline
from pipelines.registry.logged_models import TrackingStore
from pipelines.registry.manifest import verify_manifest
from pipelines.registry.versions import MANIFEST_TAG
from pipelines.training import trials, tuning
from pipelines.training.persistence import load_pipeline
from pipelines.training.reports import read_tuned
from pipelines.training.runs import Job
from pipelines.training.subjects import Subject, get_subject
from pipelines.training.text_profile import read_profile
from pipelines.training.tuning import OnTrial, Plan, TuneResult, study_names, tune
from tests.integration.commands import clean_environment
from tests.integration.training_project import (
    TrainingProject,
    interrupt,
    wait_for_line,
)
from tests.support import PATIENCE

# Figures are looked at of `tuned`, which is made before.
pytestmark = pytest.mark.usefixtures("without_figures")

DATASETS = ["airline"]


def plan(study: str, trials: int = 2, jobs: int = 1, resume: bool = False) -> Plan:
    return Plan(
        trials=trials, timeout=None, jobs=jobs, metric="accuracy", study=study, resume=resume
    )


def run(
    project: TrainingProject, wanted: Plan, subject: str = "nbsvm", **callbacks: OnTrial
) -> TuneResult:
    given = project.settings, project.params, subject, wanted, DATASETS
    return tune(*given, profile=profile_pipeline, **callbacks)


def study_of(project: TrainingProject, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=project.settings.optuna.storage)


def nested_runs(project: TrainingProject, parent: str) -> list[mlflow.entities.Run]:
    experiment = project.client.get_experiment_by_name(project.settings.mlflow.experiment)
    return list(
        project.client.search_runs(
            [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
        )
    )


@pytest.fixture(scope="module")
def tuned(training_project: TrainingProject) -> TuneResult:
    return run(training_project, plan("usual", trials=3))


class TestAStudy:
    def test_reports_the_best_trial(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        study = study_of(training_project, "usual")
        assert tuned.tuned.value == study.best_value
        assert tuned.tuned.parameters.items() >= study.best_params.items()
        assert (tuned.tuned.trials, tuned.failed, tuned.interrupted) == (3, 0, False)
        assert read_tuned(training_project.settings) == tuned.tuned
        assert tuned.report.is_file()

    def test_every_trial_is_a_nested_run(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        parent = training_project.client.get_run(tuned.tuned.run_id)
        assert parent.data.tags["study"] == "usual"
        assert parent.info.status == "FINISHED"
        assert parent.info.run_name.startswith("tune nbsvm usual 20")
        children = nested_runs(training_project, tuned.tuned.run_id)
        assert {child.info.run_name for child in children} == {
            f"usual trial {number}" for number in range(3)
        }
        for child in children:
            assert child.info.status == "FINISHED"
            assert child.data.params.keys() >= {"C", "smoothing", "min_df", "ngram_max", "bits"}
            assert child.data.metrics.keys() >= {"val.accuracy", "first_look.accuracy"}
            assert child.data.tags["data.airline.sha256"]
            inputs = {found.dataset.name: found for found in child.inputs.dataset_inputs}
            assert inputs.keys() == {"airline.train", "airline.val"}
            source = mlflow.data.get_source(inputs["airline.train"].dataset)
            assert pl.read_parquet(source.load()).columns[:2] == ["text", "label"]

    def test_the_parent_run_has_everything_about_the_best(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        parent = training_project.client.get_run(tuned.tuned.run_id)
        assert float(parent.data.params["C"]) == tuned.tuned.parameters["C"]
        assert parent.data.metrics["val.accuracy"] == tuned.tuned.value
        assert parent.data.metrics["test.accuracy"] == tuned.tuned.test["test"].accuracy
        assert "slices.short.f1" in parent.data.metrics
        figures = {
            artifact.path
            for folder in ("figures/test", "figures/study")
            for artifact in training_project.client.list_artifacts(parent.info.run_id, folder)
        }
        wanted = "confusion_matrix roc precision_recall calibration slices".split()  # noqa: SIM905
        assert figures >= {f"figures/test/{name}.png" for name in wanted}
        assert "figures/study/optimisation_history.png" in figures
        assert "figures/study/parameter_importance.png" in figures

    def test_the_model_is_logged_with_card_and_manifest(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        logged = training_project.client.get_logged_model(tuned.tuned.model_id)
        assert logged.status == "READY"
        assert logged.source_run_id == tuned.tuned.run_id
        assert logged.params["subject"] == "nbsvm"
        store = TrackingStore(training_project.settings.mlflow)
        with store.files(store.find(tuned.tuned.model_id)) as folder:
            verify_manifest(folder, logged.tags[MANIFEST_TAG])
            card = (folder / "model_card.md").read_text()
            scorer = fuse(load_pipeline(folder))
            profile = read_profile(folder)
        assert "synthetic" in card
        assert profile
        assert [*profile.counts] == tuned.tuned.datasets
        assert scorer is not None

    def test_a_clean_process_loads_the_model_and_predicts_from_raw_texts(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        script = (
            "import sys, mlflow, pandas as pd\n"
            "mlflow.set_tracking_uri(sys.argv[1])\n"
            "model = mlflow.pyfunc.load_model(f'models:/{sys.argv[2]}')\n"
            "texts = ['Lovely crew, thank you!', 'Worst airline ever &amp; <br> rude staff']\n"
            "print(*model.predict(texts))\n"
            "print(*model.predict(pd.DataFrame({'text': texts})))\n"
        )
        uri = training_project.settings.mlflow.tracking_uri
        done = subprocess.run(
            [sys.executable, "-c", script, uri, tuned.tuned.model_id],
            cwd="/",
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        of_list, of_frame = done.stdout.splitlines()
        assert of_list == of_frame == "POSITIVE NEGATIVE"


class TestNames:
    def test_a_study_of_that_name_exists(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        with pytest.raises(
            TrainingError, match="a study 'usual' already: continue it with --resume"
        ):
            run(training_project, plan("usual"))

    def test_there_is_no_study_to_resume(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        with pytest.raises(
            TrainingError, match=r"no study 'unusual' to resume\. There are: .*usual"
        ):
            run(training_project, plan("unusual", resume=True))
        assert "unusual" not in study_names(training_project.settings)

    def test_a_study_of_another_subject_cannot_be_resumed(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        with pytest.raises(
            TrainingError, match=r"'usual' is about .*nbsvm.*, not about .*linear_svc"
        ):
            run(training_project, plan("usual", resume=True), "linear_svc")

    def test_a_storage_that_cannot_be_opened(
        self, training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OLENS_OPTUNA__STORAGE", "nosuch://x")
        with pytest.raises(TrainingError, match=r"optuna\.storage = nosuch://x: cannot be opened"):
            run(training_project, plan("x"))


class TestResuming:
    def test_goes_on_with_new_suggestions_and_a_run_of_its_own(
        self, training_project: TrainingProject
    ) -> None:
        first = run(training_project, plan("resumed", trials=2))
        second = run(training_project, plan("resumed", trials=4, resume=True))
        assert second.tuned.trials == 4
        assert second.tuned.value >= first.tuned.value
        drawn = [trial.params["C"] for trial in study_of(training_project, "resumed").trials]
        assert len(set(drawn)) == 4
        # The parameters of a run cannot change, and the best may be another one now.
        assert second.tuned.run_id != first.tuned.run_id
        assert len(nested_runs(training_project, first.tuned.run_id)) == 2
        assert len(nested_runs(training_project, second.tuned.run_id)) == 2

    def test_enough_trials_are_enough(
        self, training_project: TrainingProject, tuned: TuneResult
    ) -> None:
        again = run(training_project, plan("usual", trials=2, resume=True))
        assert again.tuned.trials == 3
        assert again.tuned.parameters == tuned.tuned.parameters

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
    def test_after_kill_9(self, training_project: TrainingProject) -> None:
        process = training_project.start(
            "tune", "--trials", "500", "--study", "killed", "--dataset", "airline"
        )
        wait_for_line(process, "trial 2/500")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = study_of(training_project, "killed")
        done = len(before.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))
        assert done >= 2

        result = run(training_project, plan("killed", trials=done + 1, resume=True))
        assert result.tuned.trials == done + 1
        assert not study_of(training_project, "killed").get_trials(states=(TrialState.RUNNING,))
        # Its run is taken up again, and has the trials from before and after.
        assert before.user_attrs["mlflow_run_id"] == result.tuned.run_id
        children = nested_runs(training_project, result.tuned.run_id)
        assert len(children) >= done + 1
        assert training_project.client.get_run(result.tuned.run_id).info.status == "FINISHED"


class TestInterrupting:
    def test_ctrl_c_keeps_the_best_so_far(self, training_project: TrainingProject) -> None:
        process = training_project.start(
            "tune", "--trials", "500", "--study", "stopped", "--dataset", "airline"
        )
        wait_for_line(process, "trial 2/500")
        interrupt(process)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert "Interrupted after" in err
        assert "Traceback" not in err
        assert "Logged model m-" in out
        study = study_of(training_project, "stopped")
        assert 2 <= len(study.get_trials(states=(TrialState.COMPLETE,))) < 500
        assert not study.get_trials(states=(TrialState.RUNNING,))
        children = nested_runs(training_project, study.user_attrs["mlflow_run_id"])
        assert {child.info.status for child in children} <= {"FINISHED", "KILLED"}

    @pytest.mark.parametrize("query", [0, 3, 9, 10, 11])
    def test_ctrl_c_while_the_storage_is_read(
        self, training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch, query: int
    ) -> None:
        """Between a query and its rows an exception would leave SQLite locked."""
        name = f"query-{query}"
        queries = []

        def read(cursor: object, context: object) -> object:
            queries.append(cursor)
            if len(queries) == query + 1:
                signal.raise_signal(signal.SIGINT)
            return instances(cursor, context)

        def on_trial(study: optuna.Study, trial: FrozenTrial) -> None:
            if trial.number == 1:
                monkeypatch.setattr(loading, "instances", read)

        instances = loading.instances
        result = run(training_project, plan(name, trials=50), on_trial=on_trial)
        assert len(queries) > query
        assert result.interrupted
        assert 2 <= result.tuned.trials < 50
        assert not study_of(training_project, name).get_trials(states=(TrialState.RUNNING,))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_ctrl_c_with_two_trials_at_a_time(self, training_project: TrainingProject) -> None:
        def on_trial(study: optuna.Study, trial: FrozenTrial) -> None:
            if trial.number == 2:
                signal.raise_signal(signal.SIGINT)

        result = run(training_project, plan("both", trials=50, jobs=2), on_trial=on_trial)
        assert result.interrupted
        assert 1 <= result.tuned.trials < 8
        children = nested_runs(training_project, result.tuned.run_id)
        assert {child.info.status for child in children} <= {"FINISHED", "KILLED"}

    def test_ctrl_c_twice_ends_all_of_it(self, training_project: TrainingProject) -> None:
        def on_trial(study: optuna.Study, trial: FrozenTrial) -> None:
            if trial.number == 1:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            run(training_project, plan("twice", trials=50), on_trial=on_trial)
        study = study_of(training_project, "twice")
        parent = training_project.client.get_run(study.user_attrs["mlflow_run_id"])
        assert parent.info.status == "KILLED"
        resumed = run(training_project, plan("twice", trials=3, resume=True))
        assert resumed.tuned.trials == 3

    def test_before_any_trial_there_is_nothing_to_keep(
        self, training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*arguments: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(trials, "fit_classifier", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(training_project, plan("nothing"))
        study = study_of(training_project, "nothing")
        assert [trial.state for trial in study.trials] == [TrialState.FAIL]
        parent = training_project.client.get_run(study.user_attrs["mlflow_run_id"])
        assert parent.info.status == "KILLED"


class TestSearching:
    def test_two_trials_at_a_time(self, training_project: TrainingProject) -> None:
        result = run(training_project, plan("two", trials=6, jobs=2))
        assert (result.tuned.trials, result.failed) == (6, 0)
        children = nested_runs(training_project, result.tuned.run_id)
        assert sorted(child.info.run_name for child in children) == [
            f"two trial {number}" for number in range(6)
        ]

    def test_poor_trials_are_pruned_after_a_quarter_of_the_texts(
        self, training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subject = with_search(lambda trial: {"C": [10.0, 1e-4][trial.number >= 5]})
        monkeypatch.setattr("pipelines.training.runs.get_subject", lambda name: subject)
        result = run(training_project, plan("pruned", trials=7))
        assert result.pruned == 2
        children = nested_runs(training_project, result.tuned.run_id)
        pruned = [child for child in children if child.data.tags.get("pruned") == "true"]
        assert {child.info.run_name for child in pruned} == {
            "pruned trial 5",
            "pruned trial 6",
        }
        assert all("val.accuracy" not in child.data.metrics for child in pruned)
        assert all("first_look.accuracy" in child.data.metrics for child in pruned)

    def test_a_search_space_may_transform_what_is_suggested(
        self, training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subject = with_search(lambda trial: {"C": 2.0 ** trial.suggest_int("exponent", -2, 6)})
        monkeypatch.setattr("pipelines.training.runs.get_subject", lambda name: subject)
        result = run(training_project, plan("transformed"))
        assert np.log2(result.tuned.parameters["C"]).is_integer()

    def test_a_trial_that_fails_does_not_end_the_study(
        self, training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subject = with_search(lambda trial: {"C": [-1.0, 1.0][trial.number]})
        monkeypatch.setattr("pipelines.training.runs.get_subject", lambda name: subject)
        with pytest.raises(TrainingError, match=r"No trial of failing succeeded\. nbsvm cannot be"):
            run(training_project, plan("failing", trials=1))
        result = run(training_project, plan("failing", trials=1, resume=True))
        assert (result.failed, result.tuned.trials) == (1, 1)
        children = nested_runs(training_project, result.tuned.run_id)
        statuses = {child.info.run_name: child.info.status for child in children}
        assert statuses["failing trial 1"] == "FINISHED"

    def test_missing_test_data_are_noticed_before_the_search(
        self, training_project: TrainingProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pipelines.errors import DataError

        def missing(job: Job) -> None:
            raise DataError("no slices")

        monkeypatch.setattr(tuning, "check_test_data", missing)
        with pytest.raises(DataError):
            run(training_project, plan("early"))
        assert not study_of(training_project, "early").trials


def with_search(suggest: object) -> Subject:
    import msgspec

    return msgspec.structs.replace(get_subject("nbsvm"), suggest=suggest)

"""A small real model in a local tracking store, logged as `olens train` logs its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from pipelines.config.settings import MLflow, Paths, Settings
from pipelines.inference.profiling import profile_pipeline
from pipelines.registry.connection import set_mlflow_defaults
from pipelines.registry.manifest import MANIFEST_TAG, write_manifest
from pipelines.training.text_profile import write_profile

TEXTS = ["good, very good", "a great film", "fine and good", "bad", "an awful film", "so bad"]
LABELS = ["POSITIVE"] * 3 + ["NEGATIVE"] * 3
METRICS = {"accuracy": 0.875, "f1": 0.86}


class Tracked(msgspec.Struct, frozen=True):
    """A project with one logged model."""

    settings: Settings
    model_id: str
    run_id: str
    folder: Path
    """The files that were logged."""


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """A project with a local SQLite tracking store; shared, since making one is slow."""
    root = tmp_path_factory.mktemp("project")
    settings = project_settings(root)
    files = tmp_path_factory.mktemp("logged") / "model"
    save_model(files)
    model_id, run_id = log_model(settings, files)
    return Tracked(settings, model_id, run_id, files)


def project_settings(root: Path, **mlflow: object) -> Settings:
    """Settings of a project in `root`, with a tracking store of its own."""
    fields = {"tracking_uri": f"sqlite:///{root}/mlruns/mlflow.db", "timeout": 5.0} | mlflow
    return Settings(
        root=root, paths=Paths(models=root / "models"), mlflow=msgspec.convert(fields, MLflow)
    )


def save_model(
    folder: Path, serialization_format: str = "skops", labels: Sequence[str] = LABELS
) -> None:
    """Fit a pipeline and save it with metrics, a profile of its texts and a manifest."""
    import mlflow.sklearn
    import polars as pl
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, labels)
    mlflow.sklearn.save_model(
        pipeline,
        str(folder),
        serialization_format=serialization_format,
        pip_requirements=["scikit-learn", "skops"],
    )
    (folder / "model_card.md").write_text("# A small model\n")
    (folder / "metrics.json").write_bytes(msgspec.json.encode({"test": METRICS}))
    profile = profile_pipeline(pipeline, pl.DataFrame({"text": TEXTS, "dataset": "texts"}))
    write_profile(profile, folder)
    write_manifest(folder)


def log_model(settings: Settings, files: Path, finish: bool = True) -> tuple[str, str]:
    """Log the model in `files`; returns the IDs of the logged model and of its run."""
    import hashlib

    set_mlflow_defaults(settings.mlflow.timeout)
    from mlflow import MlflowClient

    (settings.root / "mlruns").mkdir(exist_ok=True)
    client = MlflowClient(settings.mlflow.tracking_uri, settings.mlflow.tracking_uri)
    found = client.get_experiment_by_name(settings.mlflow.experiment)
    experiment = (
        found.experiment_id
        if found
        else client.create_experiment(
            settings.mlflow.experiment, (settings.root / "mlruns/artifacts").as_uri()
        )
    )
    run = client.create_run(experiment).info.run_id
    digest = hashlib.sha256((files / "manifest.json").read_bytes()).hexdigest()
    model = client.create_logged_model(
        experiment,
        name="model",
        source_run_id=run,
        tags={MANIFEST_TAG: digest},
        params={"C": "1.0"},
    )
    client.log_model_artifacts(model.model_id, str(files))
    if finish:
        client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run)
    return model.model_id, run

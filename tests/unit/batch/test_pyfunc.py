"""Logged models as MLflow loads them."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from mlflow.pyfunc import PyFuncModel

from pipelines.batch.verdicts import judge_column
from pipelines.inference.loading import load_logged
from pipelines.training.evaluation import evaluate
from pipelines.training.persistence import save_model
from tests.fitted import fit_tiny

TEXTS = ["A lovely, superb film", "awful, rude and broken", "", "the"]
METRICS = {"test": evaluate(np.array([0, 1]), np.array([0.1, 0.9]))}


@pytest.fixture(scope="module", params=["nbsvm", "decision_tree"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("logged") / "model"
    save_model(fit_tiny(request.param), target, "# A card\n", METRICS, TEXTS[:2])
    return target


@pytest.fixture(scope="module")
def model(folder: Path) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(folder))


def test_labels_are_those_of_the_pipeline(folder: Path, model: PyFuncModel) -> None:
    expected = mlflow.sklearn.load_model(str(folder)).predict(TEXTS).tolist()
    assert model.predict(TEXTS).tolist() == expected
    assert model.predict(pd.DataFrame({"body": TEXTS})).tolist() == expected
    with_none = pd.DataFrame({"body": [TEXTS[0], None]})
    assert model.predict(with_none).tolist() == [expected[0], ""]


def test_verdicts_are_those_of_predict(folder: Path, model: PyFuncModel) -> None:
    found = model.predict(pd.DataFrame({"body": [*TEXTS, None]}), params={"verdicts": True})
    expected = judge_column(load_logged(folder), pl.Series([*TEXTS, None]), "").drop("model")
    assert list(found.columns) == expected.columns
    assert pl.from_pandas(found).equals(expected.with_columns(pl.col("prediction").fill_null("")))
    assert found["evidence"].tolist()[-1] == "none"


def test_a_pickle_is_not_loaded_however_the_model_describes_itself(
    folder: Path, tmp_path: Path
) -> None:
    from pipelines.errors import UnsafeModelError

    described = yaml.safe_load((folder / "MLmodel").read_text())
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(described))
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeModelError):
        mlflow.pyfunc.load_model(str(tmp_path))

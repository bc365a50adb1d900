"""A logged model as a user-defined function of Spark, against `olens predict`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.training.evaluation import evaluate
from pipelines.training.persistence import save_model
from tests.clusters import spark_session
from tests.fitted import fit_tiny
from tests.integration.commands import CHECKOUT, Olens
from tests.support import require

pytestmark = pytest.mark.slow

METRICS = {"test": evaluate(np.array([0, 1]), np.array([0.1, 0.9]))}


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    require(find_spec("pyspark"), "pyspark is not installed")
    require(shutil.which("java"), "java is not installed")
    with spark_session() as session:
        yield session


def test_verdicts_in_spark_are_those_of_predict(spark: Any, olens: Olens, tmp_path: Path) -> None:
    save_model(fit_tiny("nbsvm"), tmp_path / "model", "# A card\n", METRICS, ["good", "bad"])
    words = np.random.default_rng(0).choice(["lovely", "awful", "film", "slow", "rude"], (3_000, 6))
    texts = [" ".join(row) for row in words.tolist()]
    frame = pl.DataFrame({"id": range(3_002), "body": [*texts, None, "  "]})
    frame.write_parquet(tmp_path / "reviews.parquet")
    given = ["--model", str(tmp_path / "model"), "--data", str(tmp_path / "reviews.parquet")]
    done = olens("predict", *given, "--output", str(tmp_path / "here.parquet"))
    assert done.code == 0, done.err

    example = next(
        block
        for block in (CHECKOUT / "docs" / "scaling.md").read_text().split("```")
        if "spark_udf" in block and "import" in block
    )
    names = {"spark": spark}
    for written, used in {
        "models:/reviews@champion": str(tmp_path / "model"),
        "s3a://reviews/in/": str(tmp_path / "reviews.parquet"),
        "s3a://reviews/scored/": str(tmp_path / "there"),
    }.items():
        assert written in example
        example = example.replace(written, used)
    exec(example, names)

    expected = pl.read_parquet(tmp_path / "here.parquet").drop("model", "row")
    expected = expected.with_columns(pl.col("prediction").fill_null(""))
    found = pl.read_parquet(tmp_path / "there" / "*.parquet").sort("id").select(expected.columns)
    assert found.rows() == expected.rows()

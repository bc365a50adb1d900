"""`olens evaluate`: a model on the test slices, or on a file of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.datasets.loading import declaration_for_file, load_slices, load_split
from pipelines.datasets.reading import read_labelled
from pipelines.inference.opening import OpenedModel, open_model
from pipelines.params import Params
from pipelines.settings import Settings
from pipelines.training.evaluation import Metrics, evaluate_slices
from pipelines.training.reports import read_tuned, write_report

EVALUATION: Final = "evaluation.json"
METRICS: Final = "metrics.json"
PLOTS: Final = "plots"
TEST: Final = "test"


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one model by slice; `test` is the whole test split."""

    model: str
    metrics: dict[str, Metrics]


def evaluate_model(settings: Settings, params: Params, model: str | None = None) -> Evaluation:
    """Look at the test slices of all data sets, and keep the result for DVC.

    Writes to the folder of reports: ``evaluation.json`` with everything, ``metrics.json`` with
    what `dvc metrics show` can print in a screen's width, and the points of the plots.

    Parameters
    ----------
    model : str, optional
        As for `open_model`. None: the model of the last `olens tune`, else the newest one that
        was logged.
    """
    from pipelines.training.figures import plot_data

    opened = open_model(settings, model or _default_model(settings))
    test = load_split(settings, params, "test")
    slices = {TEST: test, **load_slices(settings)}
    evaluation = Evaluation(model=opened.id, metrics=_evaluate(opened, slices))
    folder = settings.paths.reports / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    plot_data(test["label"].to_numpy(), _positive(opened, test["text"].to_list()), folder)
    write_report(settings, EVALUATION, evaluation)
    write_report(settings, METRICS, _summary(evaluation.metrics))
    return evaluation


def evaluate_on_file(
    settings: Settings,
    params: Params,
    model: str | None,
    path: Path,
    text_column: str,
    label_column: str,
) -> Evaluation:
    """Evaluate on a labelled CSV, Parquet or JSONL file; the result has one slice, `file`.

    Labels mean what they mean to the declared data sets.

    Raises
    ------
    DataError
        If the file cannot be read or has labels that mean nothing.
    """
    declaration = declaration_for_file(params, text_column, label_column)
    labelled = read_labelled(path, declaration)
    opened = open_model(settings, model or _default_model(settings))
    return Evaluation(model=opened.id, metrics=_evaluate(opened, {"file": labelled}))


def _summary(metrics: dict[str, Metrics]) -> dict[str, object]:
    """The whole test split by four metrics, the slices by their accuracy."""
    test = metrics[TEST]
    return {
        "accuracy": test.accuracy,
        "f1": test.f1,
        "log_loss": test.log_loss,
        "ece": test.ece,
        "slices": {name: found.accuracy for name, found in metrics.items() if name != TEST},
    }


def _default_model(settings: Settings) -> str:
    tuned = read_tuned(settings)
    return tuned.model_id if tuned else "latest"


def _evaluate(opened: OpenedModel, slices: dict[str, pl.DataFrame]) -> dict[str, Metrics]:
    return evaluate_slices(slices, lambda texts: _positive(opened, texts))


def _positive(opened: OpenedModel, texts: Sequence[str]) -> NDArray[np.float64]:
    return opened.scorer.predict(texts)[1]

"""`olens evaluate`: a model on the test slices, or on a file of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.config.params import Params
from pipelines.config.settings import Settings
from pipelines.datasets.labels import relabelled
from pipelines.datasets.loading import load_slices, load_split
from pipelines.registry.logged_models import LATEST, TrackingStore
from pipelines.tables.labelled import LabelledTable
from pipelines.training.evaluation import Metrics, evaluate_slices
from pipelines.training.reports import read_tuned, write_report
from pipelines.training.tally import Tally
from pipelines.workflows.open_model import OpenedModel, open_model

EVALUATION: Final = "evaluation.json"
METRICS: Final = "metrics.json"
PLOTS: Final = "plots"
TEST: Final = "test"


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one model by slice; `test` is the whole test split."""

    model: str
    metrics: dict[str, Metrics]
    data: list[str] = []
    """About a file of one's own: what it is, what its labels mean, what was left out."""
    warnings: list[str] = []


def evaluate_model(settings: Settings, params: Params, model: str | None = None) -> Evaluation:
    """Look at the test slices of all data sets, and keep the result for DVC.

    Writes to the folder of reports: ``evaluation.json`` with everything, ``metrics.json`` with
    what `dvc metrics show` can print in a screen's width, and the points of the plots.

    Parameters
    ----------
    model : str, optional
        As for `open_model`. None: the model of the last `olens tune`, else the newest one that
        was logged, else the one that answers.
    """
    from pipelines.training.figures import plot_data

    opened = open_evaluated(settings, model)
    classes = opened.scorer.classes
    slices = {TEST: load_split(settings, params, "test"), **load_slices(settings, params)}
    known = {name: relabelled(frame, params.classes(), classes) for name, frame in slices.items()}
    test = known[TEST]
    evaluation = Evaluation(
        model=opened.id,
        metrics=evaluate_slices(known, lambda texts: _probabilities(opened, texts), classes),
        warnings=_left_out(slices[TEST].height - test.height, opened),
    )
    folder = settings.paths.reports / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    probabilities = _probabilities(opened, test["text"].to_list())
    plot_data(test["label"].to_numpy(), probabilities, folder, classes)
    write_report(settings, EVALUATION, evaluation)
    write_report(settings, METRICS, _summary(evaluation.metrics))
    return evaluation


def open_evaluated(settings: Settings, model: str | None) -> OpenedModel:
    """The model to evaluate; see `evaluate_model`."""
    return open_model(settings, model or _default_model(settings))


def evaluate_on_file(opened: OpenedModel, labelled: LabelledTable) -> Evaluation:
    """Evaluate on a labelled file of any size; the result has one slice, `file`.

    The labels of the file must have been read for the classes of the model.

    Raises
    ------
    DataError
        If the file is damaged, or has no row that can be used.
    """
    tally = Tally(opened.scorer.classes)
    for batch in labelled.batches():
        tally.add(batch["label"].to_numpy(), _probabilities(opened, batch["text"].to_list()))
    return Evaluation(
        model=opened.id,
        metrics={"file": tally.metrics()},
        data=labelled.messages(),
        warnings=labelled.warnings(),
    )


def _summary(metrics: dict[str, Metrics]) -> dict[str, object]:
    """The whole test split by four metrics or five, the slices by their accuracy."""
    test = metrics[TEST]
    return {
        "accuracy": test.accuracy,
        "f1": test.f1,
        **({} if test.kappa is None else {"kappa": test.kappa}),
        "log_loss": test.log_loss,
        "ece": test.ece,
        "slices": {name: found.accuracy for name, found in metrics.items() if name != TEST},
    }


def _default_model(settings: Settings) -> str | None:
    """The model of the last `olens tune`, else the newest logged one, else the one that answers."""
    if tuned := read_tuned(settings):
        return tuned.model_id
    return LATEST if TrackingStore(settings.mlflow).recent(1) else None


def _left_out(rows: int, opened: OpenedModel) -> list[str]:
    if not rows:
        return []
    return [
        f"Left out: {rows:,} test texts of classes that {opened.id} does not have; it has "
        f"{', '.join(opened.scorer.classes.names)}."
    ]


def _probabilities(opened: OpenedModel, texts: Sequence[str]) -> NDArray[np.float64]:
    return opened.scorer.predict(texts)[1]

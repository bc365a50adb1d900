"""`olens baselines`: the floor to beat, tracked in runs like every model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from pipelines.config.params import Params
from pipelines.config.settings import Settings
from pipelines.datasets.loading import load_split
from pipelines.labels import Classes
from pipelines.registry.tracking import Tracker
from pipelines.training.baselines import baselines
from pipelines.training.reports import BASELINES, Baselines, write_report
from pipelines.training.runs import (
    OnStage,
    evaluate_on,
    flattened,
    log_figures,
    test_slices,
)


def run_baselines(
    settings: Settings,
    params: Params,
    datasets: Sequence[str] | None = None,
    on_stage: OnStage = lambda stage: None,
) -> Baselines:
    """Fit each baseline on the train split and evaluate it on the test slices.

    Nested runs have the same metrics and figures as `olens tune`. The metrics also go to
    ``data/reports/baselines.json``.
    """
    names = list(datasets or params.datasets)
    train = load_split(settings, params, "train", names)
    slices = test_slices(settings, params, names)
    classes = params.classes(names)
    tracker = Tracker.open(settings)
    metrics = {}
    with tracker.run("baselines", {"datasets": ", ".join(names)}) as parent:
        for name, estimator in baselines(params.seed, classes).items():
            on_stage(name)
            with tracker.run(name, {"subject": name}, parent=parent.id) as run:
                estimator.fit(train["text"].to_list(), train["label"].to_numpy())
                predict = partial(_probabilities, estimator, classes)
                metrics[name], figures = evaluate_on(predict, slices, classes)
                run.log_metrics(flattened(metrics[name]))
                log_figures(run, figures, "figures/test")
    report = Baselines(run_id=parent.id, datasets=names, metrics=metrics)
    write_report(settings, BASELINES, report)
    return report


def _probabilities(
    fitted: BaseEstimator, classes: Classes, texts: Sequence[str]
) -> NDArray[np.float64]:
    return classes.compact(fitted.predict_proba(texts))

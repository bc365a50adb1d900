"""`olens baselines`: the floor to beat, tracked like every other model."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.datasets.loading import load_split
from pipelines.params import Params
from pipelines.settings import Settings
from pipelines.training.baselines import baselines
from pipelines.training.fitting import CLASSES
from pipelines.training.reports import BASELINES, Baselines, write_report
from pipelines.training.runs import (
    OnStage,
    evaluate_on,
    flattened,
    log_figures,
    test_figures,
    test_slices,
)
from pipelines.training.tracking import Tracker


def run_baselines(
    settings: Settings,
    params: Params,
    datasets: Sequence[str] | None = None,
    on_stage: OnStage = lambda stage: None,
) -> Baselines:
    """Fit each baseline on the train split and look at the test slices.

    Nested runs have the same metrics and figures as `olens tune`. The metrics also go to
    ``data/reports/baselines.json``.
    """
    names = list(datasets or params.datasets)
    train = load_split(settings, params, "train", names)
    test = load_split(settings, params, "test", names)
    slices = test_slices(settings, test)
    tracker = Tracker.open(settings)
    metrics = {}
    with tracker.run("baselines", {"datasets": ", ".join(names)}) as parent:
        for name, estimator in baselines(params.seed).items():
            on_stage(name)
            with tracker.run(name, {"subject": name}, parent=parent.id) as run:
                estimator.fit(train["text"].to_list(), CLASSES[train["label"].to_numpy()])
                metrics[name] = evaluate_on(estimator, slices)
                run.log_metrics(flattened(metrics[name]))
                log_figures(run, test_figures(estimator, test, metrics[name]), "figures/test")
    report = Baselines(run_id=parent.id, datasets=names, metrics=metrics)
    write_report(settings, BASELINES, report)
    return report

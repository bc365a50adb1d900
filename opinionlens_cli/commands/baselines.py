"""`olens baselines`: what a model must beat."""

from __future__ import annotations

from opinionlens_cli.console import JsonOption, print_json, print_metrics, say, stages, warn
from opinionlens_cli.options import DatasetOption


def baselines_cli(dataset: DatasetOption = None, as_json: JsonOption = False) -> None:
    """Run the baselines: the most frequent class, chance, and VADER's lexicon.

    Example: olens baselines --dataset imdb
    """
    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings
    from pipelines.datasets.loading import stale
    from pipelines.training.baseline_runs import run_baselines

    settings = load_settings()
    params = load_params(settings.root)
    for message in stale(settings, params):
        warn(message)
    with stages() as on_stage:
        report = run_baselines(settings, params, dataset, on_stage)
    if as_json:
        print_json(report)
        return
    tested = {name: slices["test"] for name, slices in report.metrics.items()}
    print_metrics(tested, kind="baseline")
    say(f"Run {report.run_id}.")

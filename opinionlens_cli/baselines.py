"""`olens baselines`: what a model must beat."""

from __future__ import annotations

from opinionlens_cli.console import JsonOption, out, print_json, print_table, warn
from opinionlens_cli.metrics import METRIC_COLUMNS, metric_rows
from opinionlens_cli.parameters import DatasetOption
from opinionlens_cli.stages import stages


def baselines_cli(dataset: DatasetOption = None, as_json: JsonOption = False) -> None:
    """Run the baselines: the most frequent class, chance, and an opinion lexicon.

    Example: olens baselines --dataset imdb
    """
    from pipelines.datasets.loading import stale
    from pipelines.params import load_params
    from pipelines.settings import load_settings
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
    rows = metric_rows({name: slices["test"] for name, slices in report.metrics.items()})
    print_table(["baseline", *METRIC_COLUMNS[1:]], rows)
    out.print(f"Run {report.run_id}.", highlight=False)

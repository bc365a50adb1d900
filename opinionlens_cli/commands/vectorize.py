"""`olens vectorize`: count n-grams once, for many runs."""

from __future__ import annotations

from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, note, print_json, print_table, stages


def vectorize_cli(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Data sets; all that are declared by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn prepared texts into n-gram counts in data/features.

    Training does this by itself where they are missing; doing it once makes many runs faster.

    Example: olens vectorize imdb
    """
    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings
    from pipelines.datasets.found_language import found_language
    from pipelines.training.features import vectorize

    settings = load_settings()
    params = load_params(settings.root)
    if found := found_language(settings, params, datasets or None):
        note(found.evidence)
    with stages() as on_stage:
        on_stage("counting n-grams")
        done = vectorize(
            settings, params, datasets or None, lambda name, _: on_stage(f"{name} done")
        )
    if as_json:
        print_json(done)
        return
    rows = [
        (name, split, features.rows[split], features.entries[split])
        for name, features in done.items()
        for split in features.rows
    ]
    print_table(["data set", "split", "texts", "n-grams"], rows)

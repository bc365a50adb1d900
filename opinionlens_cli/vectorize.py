"""`olens vectorize`: count n-grams once, for many runs."""

from __future__ import annotations

from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, print_json, print_table
from opinionlens_cli.stages import stages


def vectorize_cli(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Data sets; all that are declared by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn prepared texts into n-gram counts below data/features.

    Training does this by itself where it must; doing it once makes many runs quicker.

    Example: olens vectorize imdb
    """
    from pipelines.params import load_params
    from pipelines.settings import load_settings
    from pipelines.training.features import vectorize

    settings = load_settings()
    params = load_params(settings.root)
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

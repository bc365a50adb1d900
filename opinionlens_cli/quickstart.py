"""`olens quickstart`: the whole road, then the page."""

from __future__ import annotations

from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, err, out, print_json, print_table
from opinionlens_cli.serve import serve
from opinionlens_cli.stages import stages


def quickstart_cli(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port.", min=0, max=65535)] = None,
    serving: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve the page at the end.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Go from labelled texts to a served model: preprocess, tune, register, fetch, serve.

    Uses the declared files in data/raw; if there are none, the synthetic sample in data/sample.
    Running it again picks up what is there.

    Example: olens quickstart --port 8080
    """
    from pipelines.params import load_params
    from pipelines.quickstart import quickstart
    from pipelines.settings import load_settings

    settings = load_settings()
    params = load_params(settings.root)
    with stages() as on_stage:
        result = quickstart(settings, params, on_stage)
    if as_json:
        print_json(result)
    else:
        rows = [(step.name, step.result) for step in result.steps]
        print_table(["step", "result"], rows, "OpinionLens quickstart")
        if result.sample:
            out.print(
                "Trained on the synthetic sample (made-up texts in data/sample), for want of data "
                "in data/raw:\nthe figures say nothing about real texts.",
                style="yellow",
            )
        out.print(
            'Next: olens predict "The food was cold and the waiter rude"\n'
            "      olens data list            (real data: olens data download imdb)\n"
            "      olens tune --trials 20     (then: olens register latest opinionlens)",
            highlight=False,
        )
    if serving:
        err.print()
        serve(settings, host, port)

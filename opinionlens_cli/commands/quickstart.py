"""`olens quickstart`: the whole pipeline once, then the page."""

from __future__ import annotations

from typing import Annotated

import typer

from opinionlens_cli.console import (
    JsonOption,
    err,
    out,
    print_json,
    print_next,
    print_table,
    stages,
)


def quickstart_cli(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port.", min=0, max=65535)] = None,
    serving: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve the page at the end.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline once: preprocess, tune, register, fetch, and serve the page.

    Uses the declared files in data/raw; if there are none, the synthetic sample in data/sample.
    Running it again continues from what is there.

    Example: olens quickstart --port 8080
    """
    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings
    from pipelines.workflows.quickstart import NAME, quickstart

    settings = load_settings()
    params = load_params(settings.root)
    if serving:
        from opinionlens_server.serve import listen

        # A port in use is reported now, not after the training.
        configured = settings.serving
        listen(host or configured.host, configured.port if port is None else port).close()
    with stages() as on_stage:
        result = quickstart(settings, params, on_stage)
    if as_json:
        print_json(result)
    else:
        rows = [(step.name, step.result) for step in result.steps]
        print_table(["step", "result"], rows, "OpinionLens quickstart")
        if result.sample:
            out.print(
                "There are no data in data/raw, so this was trained on the synthetic sample in "
                "data/sample.\nThe figures say nothing about real texts.",
                style="yellow",
            )
        print_next(
            'predict "The food was cold and the waiter rude"',
            "data list",
            "data download imdb",
            "tune --trials 20",
            f"register latest {NAME}",
            folder=settings.root,
            new_terminal=serving,
        )
    if serving:
        from opinionlens_server.serve import serve

        err.print()
        serve(settings, host, port)

"""``olens serve``: run the web service."""

from __future__ import annotations

from typing import Annotated

import typer

from opinionlens_cli.options import NAMES, activate


def serve_cli(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.  [default: serving.host]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port; 0 takes a free one.  [default: serving.port]", min=0, max=65535),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes.  [default: serving.workers]", min=1)
    ] = None,
    model: Annotated[str | None, typer.Option(help=f"Activate this model first: {NAMES}.")] = None,
) -> None:
    """Serve the web page and the JSON API with the active model.

    Activating another model, here or with `olens models activate`, reaches all workers within two
    seconds. Ctrl-C ends the service after the requests in progress.

    Example: olens serve --port 8080 --workers 2
    """
    from opinionlens_server.serve import serve
    from pipelines.config.settings import load_settings

    settings = load_settings()
    if model is not None:
        activate(settings, model)
    serve(settings, host, port, workers)

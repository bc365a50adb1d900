"""The `olens` command.

A command parses its arguments, calls one function of `pipelines` and prints what it returns. What
is heavy is imported inside the commands, so that `olens --help` stays quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from opinionlens_cli import config, data, models
from opinionlens_cli.base_model import base_model_cli
from opinionlens_cli.baselines import baselines_cli
from opinionlens_cli.console import err, fail
from opinionlens_cli.doctor import doctor_cli
from opinionlens_cli.evaluate import evaluate_cli
from opinionlens_cli.explain import explain_cli
from opinionlens_cli.fetch import fetch_cli
from opinionlens_cli.predict import predict_cli
from opinionlens_cli.preprocess import preprocess_cli
from opinionlens_cli.quickstart import quickstart_cli
from opinionlens_cli.register import register_cli
from opinionlens_cli.serve import serve_cli
from opinionlens_cli.train import train_cli
from opinionlens_cli.tune import tune_cli
from opinionlens_cli.vectorize import vectorize_cli
from pipelines.errors import OpinionLensError

app = typer.Typer(
    name="olens",
    help="Own your sentiment model: train it, version it, serve it, see why it answered as it did.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("quickstart")(quickstart_cli)
# In the order in which the data move.
app.add_typer(config.app, name="config")
app.add_typer(data.app, name="data")
app.command("preprocess")(preprocess_cli)
app.command("vectorize")(vectorize_cli)
app.command("train")(train_cli)
app.command("tune")(tune_cli)
app.command("baselines")(baselines_cli)
app.command("evaluate")(evaluate_cli)
app.command("register")(register_cli)
app.command("fetch")(fetch_cli)
app.add_typer(models.app, name="models")
app.command("predict")(predict_cli)
app.command("explain")(explain_cli)
app.command("serve")(serve_cli)

app.command("doctor")(doctor_cli)
app.command("base-model", hidden=True)(base_model_cli)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("opinionlens"))
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="Project folder, instead of the one you stand in.", envvar="OLENS_ROOT"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of every command."""
    if root is not None:
        os.environ["OLENS_ROOT"] = str(root)


def run() -> None:
    """Entry point: turn errors into one line on stderr and an exit code."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except OpinionLensError as error:
        if debug:
            raise
        fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; that is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    run()

"""The `olens` command.

A command parses its arguments, calls one function of `pipelines` and prints what it returns. What
is heavy is imported inside the commands, so that `olens --help` stays quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from opinionlens_cli.commands import config, data, feedback, labels, models
from opinionlens_cli.commands.adapt import adapt_cli
from opinionlens_cli.commands.base_model import base_model_cli
from opinionlens_cli.commands.baselines import baselines_cli
from opinionlens_cli.commands.compare import compare_cli, promote_cli
from opinionlens_cli.commands.doctor import doctor_cli
from opinionlens_cli.commands.evaluate import evaluate_cli
from opinionlens_cli.commands.explain import explain_cli
from opinionlens_cli.commands.fetch import fetch_cli
from opinionlens_cli.commands.init import init_cli
from opinionlens_cli.commands.label import label_cli
from opinionlens_cli.commands.predict import predict_cli
from opinionlens_cli.commands.preprocess import preprocess_cli
from opinionlens_cli.commands.quickstart import quickstart_cli
from opinionlens_cli.commands.register import register_cli
from opinionlens_cli.commands.serve import serve_cli
from opinionlens_cli.commands.train import train_cli
from opinionlens_cli.commands.tune import tune_cli
from opinionlens_cli.commands.vectorize import vectorize_cli
from opinionlens_cli.console import ISSUES, docs, err, fail
from pipelines.errors import OpinionLensError
from pipelines.files import is_full
from pipelines.text.showing import in_one_line

app = typer.Typer(
    name="olens",
    help="Own your sentiment model: train it, version it, serve it, see why it answered as it did.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(name: str, command: Callable[..., None], page: str, hidden: bool = False) -> None:
    """Add a command whose help leads to a page of the documentation."""
    app.command(name, epilog=docs(page), hidden=hidden)(command)


_add("init", init_cli, "data")
_add("quickstart", quickstart_cli, "training")
# In the order in which the data move.
app.add_typer(config.app, name="config")
app.add_typer(data.app, name="data")
_add("preprocess", preprocess_cli, "data")
_add("vectorize", vectorize_cli, "training")
_add("train", train_cli, "training")
_add("tune", tune_cli, "training")
_add("adapt", adapt_cli, "training")
_add("baselines", baselines_cli, "training")
_add("evaluate", evaluate_cli, "training")
_add("compare", compare_cli, "training")
_add("label", label_cli, "labelling")
app.add_typer(labels.app, name="labels")
_add("register", register_cli, "serving")
_add("promote", promote_cli, "serving")
_add("fetch", fetch_cli, "serving")
app.add_typer(models.app, name="models")
_add("predict", predict_cli, "files")
_add("explain", explain_cli, "python")
_add("serve", serve_cli, "serving")
app.add_typer(feedback.app, name="feedback")
_add("doctor", doctor_cli, "settings")
_add("base-model", base_model_cli, "base-model", hidden=True)


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
        typer.Option(help="Project folder, instead of the current one.", envvar="OLENS_ROOT"),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors. May stand anywhere.")
    ] = False,
) -> None:
    """Options of every command."""
    if root is not None:
        os.environ["OLENS_ROOT"] = str(root)


def run() -> None:
    """Entry point: turn errors into one line on stderr and an exit code."""
    arguments, debug = _without_debug(sys.argv[1:])
    try:
        app(arguments)
    except OpinionLensError as error:
        if debug:
            raise
        fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        _end_interrupted()
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; that is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        # Numba's SystemError, when the signal arrives while a compiled function is called.
        if isinstance(error.__cause__, KeyboardInterrupt):
            _end_interrupted()
        if debug:
            raise
        if is_full(error):
            fail(f"The disk is full: {in_one_line(str(error), 300)}. Free some space and try again")
            sys.exit(1)
        fail(
            f"{type(error).__name__}: {in_one_line(str(error), 300)}\nThis is a defect of "
            f"OpinionLens. Please report it at {ISSUES} with what --debug prints."
        )
        sys.exit(1)


def _end_interrupted() -> NoReturn:
    err.print("Interrupted.")
    sys.exit(130)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Take `--debug` out, wherever it stands before `--`; returns whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return options + arguments[end:], len(options) < end


if __name__ == "__main__":
    run()

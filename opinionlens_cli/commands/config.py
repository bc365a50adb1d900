"""`olens config`: what the settings are and where they come from."""

from __future__ import annotations

import typer

from opinionlens_cli.commands.secret import hash_secret_cli, new_api_key_cli
from opinionlens_cli.console import JsonOption, docs, print_json, print_table

app = typer.Typer(help="Show the settings, and make secrets for them.", no_args_is_help=True)

_PAGE = docs("settings")

app.command("hash-secret", epilog=_PAGE)(hash_secret_cli)
app.command("new-api-key", epilog=_PAGE)(new_api_key_cli)


@app.command("show", epilog=_PAGE)
def show_cli(as_json: JsonOption = False) -> None:
    """Print every setting with its value and where it came from; secrets are masked.

    Example: OLENS_SERVING__PORT=9000 olens config show
    """
    from pipelines.config.settings import describe_settings

    settings = describe_settings()
    if as_json:
        print_json(settings)
    else:
        print_table(["setting", "value", "source"], [(s.key, s.value, s.source) for s in settings])

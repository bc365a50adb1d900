"""`olens register`: make a model a version in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, err, print_json, print_next, say
from opinionlens_cli.options import (
    NAMES,
    PasswordStdinOption,
    UsernameOption,
    read_credentials,
    with_account,
)

if TYPE_CHECKING:
    from pipelines.registry.connection import Credentials
    from pipelines.registry.versions import RegisteredVersion


def register_cli(
    model: Annotated[
        str,
        typer.Argument(help=f"Model: {NAMES}."),
    ],
    name: Annotated[str, typer.Argument(help="Registered model; made if it does not exist.")],
    alias: Annotated[
        str | None, typer.Option(help="Point this alias to the new version, such as champion.")
    ] = None,
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Register a model, such as the one that was trained last, as a new version of NAME.

    Its files are copied to the registry byte for byte.

    Example: olens register latest reviews --alias champion
    """
    from pipelines.config.settings import load_settings
    from pipelines.workflows.register import register

    settings = load_settings()
    account = read_credentials(settings, username, password_stdin)

    def copy(credentials: Credentials | None) -> RegisteredVersion:
        with err.status(f"Registering {name}"):
            return register(settings, name, model, alias, credentials)

    version = with_account(copy, settings, account)
    if as_json:
        print_json(version)
        return
    called = f" ({', '.join(version.aliases)})" if version.aliases else ""
    say(f"Registered version {version.version}{called} of {version.name} at {version.source}")
    print_next(f"fetch {version.name} --activate")

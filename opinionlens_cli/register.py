"""`olens register`: make a logged model a version in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, err, out, print_json
from opinionlens_cli.credentials import (
    PasswordStdinOption,
    UsernameOption,
    read_credentials,
    with_account,
)

if TYPE_CHECKING:
    from pipelines.connection import Credentials
    from pipelines.registry.versions import RegisteredVersion


def register_cli(
    model: Annotated[
        str,
        typer.Argument(help="`latest`, the ID of a logged model (m-...) or of a run, or `base`."),
    ],
    name: Annotated[str, typer.Argument(help="Registered model; made if it does not exist.")],
    alias: Annotated[
        str | None, typer.Option(help="Point this alias to the new version, such as champion.")
    ] = None,
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a logged model from the tracking store to the registry, byte for byte.

    Example: olens register latest reviews --alias champion
    """
    from pipelines.inference.registering import register
    from pipelines.settings import load_settings

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
    out.print(f"Registered version {version.version}{called} of {version.name} at {version.source}")
    out.print(f"Next: olens fetch {version.name} --activate")

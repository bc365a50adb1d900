"""`olens fetch`: bring a registered model into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, downloading, print_json, print_next, say
from opinionlens_cli.options import (
    PasswordStdinOption,
    UsernameOption,
    read_credentials,
    with_account,
)

if TYPE_CHECKING:
    from pipelines.cache.entries import CachedModel
    from pipelines.registry.connection import Credentials


def fetch_cli(
    name: Annotated[str, typer.Argument(help="Registered model: NAME, NAME@alias or NAME/3.")],
    version: Annotated[
        int | None,
        typer.Option(help="Version (default: the alias champion, or else the newest).", min=1),
    ] = None,
    alias: Annotated[str | None, typer.Option(help="The version with this alias.")] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Let it answer from now on.")
    ] = False,
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download a registered model into the cache, check it and prepare it for serving.

    What is in the cache already is not downloaded again. A model that could run code when it is
    loaded is refused.

    Example: olens fetch reviews@champion --activate
    """
    from pipelines.config.settings import load_settings
    from pipelines.workflows.fetch import fetch_model
    from pipelines.workflows.open_model import RegistryName, parse_name

    wanted = parse_name(name)
    if sum(given is not None for given in (version, alias, *wanted[1:])) > 1:
        raise typer.BadParameter("give one version or one alias")
    wanted = RegistryName(wanted.name, version or wanted.version, alias or wanted.alias)
    settings = load_settings()
    account = read_credentials(settings, username, password_stdin)

    def download(credentials: Credentials | None) -> CachedModel:
        with downloading(name) as on_progress:
            return fetch_model(
                settings,
                *wanted,
                activate=activate,
                on_progress=on_progress,
                credentials=credentials,
            )

    model = with_account(download, settings, account)
    if as_json:
        print_json(model)
        return
    say(f"{model.id} is in {settings.paths.models}" + (" and active" if activate else ""))
    if not activate:
        print_next(f"models activate {model.id}")

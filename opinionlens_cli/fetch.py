"""`olens fetch`: bring a registered model into the cache."""

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
    from rich.progress import Progress

    from pipelines.connection import Credentials
    from pipelines.registry.entries import CachedModel


def fetch_cli(
    name: Annotated[str, typer.Argument(help="Registered model.")],
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

    Example: olens fetch reviews --alias champion --activate
    """
    from pipelines.inference.fetching import fetch_model
    from pipelines.settings import load_settings

    if version is not None and alias is not None:
        raise typer.BadParameter("give --version or --alias, not both")
    settings = load_settings()
    account = read_credentials(settings, username, password_stdin)

    def download(credentials: Credentials | None) -> CachedModel:
        with _download_progress() as bar:
            task = bar.add_task(f"Fetching {name}", total=None)
            return fetch_model(
                settings,
                name,
                version,
                alias,
                activate,
                lambda done, total: bar.update(task, completed=done, total=total),
                credentials,
            )

    model = with_account(download, settings, account)
    if as_json:
        print_json(model)
        return
    out.print(f"{model.id} is in {settings.paths.models}" + (" and active" if activate else ""))
    if not activate:
        out.print(f"Next: olens models activate {model.id}")


def _download_progress() -> Progress:
    """A bar that counts bytes; silent when standard error is no terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )

"""The account for the registry: options, standard input, and asking on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from opinionlens_cli.console import warn
from pipelines.errors import InputError, RegistryAuthError

if TYPE_CHECKING:
    from pipelines.connection import Credentials
    from pipelines.settings import Settings

T = TypeVar("T")

UsernameOption = Annotated[
    str | None,
    typer.Option(help="Account for the registry.  (default: mlflow.registry_username)"),
]
PasswordStdinOption = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the account's password from standard input."),
]


def read_credentials(
    settings: Settings, username: str | None, password_stdin: bool
) -> Credentials | None:
    """The account that the options name; None leaves it to the settings.

    Raises
    ------
    InputError
        If half of it is missing and there is no terminal to ask on.
    """
    from pipelines.connection import Credentials

    if username is None and not password_stdin:
        return None
    name = username or settings.mlflow.registry_username
    if not name:
        raise InputError("--password-stdin needs a name: --username NAME")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise InputError("--password-stdin: standard input holds no password")
        return Credentials(name, password)
    if sys.stdin.isatty():
        return Credentials(name, _ask_password())
    if not settings.mlflow.registry_password:
        raise InputError(f"There is no password for {name}: give it with --password-stdin")
    return Credentials(name, settings.mlflow.registry_password)


def with_account(
    call: Callable[[Credentials | None], T], settings: Settings, credentials: Credentials | None
) -> T:
    """Call with the account; if it is refused, ask for another one on the terminal, once."""
    from pipelines.connection import Credentials

    try:
        return call(credentials)
    except RegistryAuthError as error:
        if not sys.stdin.isatty():
            raise
        warn(str(error))
    known = credentials.username if credentials else settings.mlflow.registry_username
    name = typer.prompt("User name", default=known or None, err=True)
    return call(Credentials(name, _ask_password()))


def _ask_password() -> str:
    return str(typer.prompt("Password", hide_input=True, err=True))

"""``olens config hash-secret`` and ``new-api-key``: make credentials for the settings."""

from __future__ import annotations

import secrets
import sys

import typer

from opinionlens_cli.console import note
from pipelines.errors import InputError
from pipelines.files import sha256_of

SHORTEST = 12
"""Fewest characters of a secret."""


def hash_secret_cli() -> None:
    """Ask for the admin's secret and print its Argon2 hash, for serving.admin_secret_hash.

    The secret itself is stored nowhere. It is read from standard input if that is no terminal.

    Example: olens config hash-secret
    """
    from argon2 import PasswordHasher

    secret = _read_secret()
    if len(secret) < SHORTEST:
        raise InputError(f"The secret is too short: use at least {SHORTEST} characters.")
    typer.echo(PasswordHasher().hash(secret))
    _hint("Put this line into conf/.secrets.toml as admin_secret_hash of [default.serving].")


def new_api_key_cli() -> None:
    """Make an API key, print it and the line for serving.api_keys.

    The settings hold only the SHA-256 of the key.

    Example: olens config new-api-key
    """
    key = "olens_" + secrets.token_urlsafe(24)
    typer.echo(f"key:     {key}")
    typer.echo(f"setting: sha256:{sha256_of(key.encode())}")
    _hint("Give the key to its user, and add the setting to serving.api_keys.")


def _read_secret() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _hint(text: str) -> None:
    if sys.stdout.isatty():
        note(text)

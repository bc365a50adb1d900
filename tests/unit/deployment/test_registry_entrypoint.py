"""What the registry's entry point makes of its secrets, before there is any server."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.integration.services import free_port

ENTRYPOINT: Final = Path(__file__).parents[3] / "docker/registry/entrypoint.py"
SECRETS: Final = {
    "postgres_password": "with:colon\\and backslash",
    "registry_admin_password": "100% of {it}",
    "registry_service_password": "another",
    "registry_session_key": "key",
}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name, value in SECRETS.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def start(secrets: Path, timeout: float = 0.0) -> subprocess.CompletedProcess[str]:
    """Run the entry point where no database answers."""
    environment = os.environ | {
        "REGISTRY_SECRETS": str(secrets),
        "REGISTRY_DATABASE_TIMEOUT": str(timeout),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(free_port()),
        "TMPDIR": str(secrets.parent),
    }
    command = [sys.executable, str(ENTRYPOINT)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def written(secrets: Path, name: str) -> Path:
    """A file that the entry point wrote."""
    (path,) = secrets.parent.glob(f"registry-*/{name}")
    return path


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_secret_is_named(secrets: Path, name: str):
    (secrets / name).unlink()

    ended = start(secrets)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"registry: the secret {secrets / name} cannot be read: ")


def test_an_empty_secret_is_named(secrets: Path):
    (secrets / "postgres_password").write_text("\n")

    ended = start(secrets)

    assert ended.returncode == 1
    assert f"{secrets / 'postgres_password'} is empty" in ended.stderr


@pytest.mark.parametrize("account", ["admin", "service"])
def test_a_password_that_artifacts_could_not_be_asked_with_is_refused(secrets: Path, account: str):
    name = f"registry_{account}_password"
    (secrets / name).write_text("pässword that is long")

    ended = start(secrets)

    assert ended.returncode == 1
    assert f"{name} must be ASCII" in ended.stderr
    assert "pässword" not in ended.stderr


def test_it_waits_for_the_database_and_says_why_it_does_not_come(secrets: Path):
    started = time.monotonic()

    ended = start(secrets, timeout=1.0)

    assert time.monotonic() - started > 1
    assert ended.returncode == 1
    assert ended.stderr.startswith("registry: no database after 1 s: connection to server")
    assert "Traceback" not in ended.stderr


def test_files_with_secrets_are_for_their_owner_alone(secrets: Path):
    start(secrets)

    files = [written(secrets, name) for name in ("pgpass", "basic_auth.ini")]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_mlflow_reads_the_password_that_was_meant(secrets: Path):
    start(secrets)

    read = configparser.ConfigParser()
    read.read(written(secrets, "basic_auth.ini"))
    assert read["mlflow"]["admin_password"] == SECRETS["registry_admin_password"]
    assert "@" not in read["mlflow"]["database_uri"]


def test_postgresql_reads_the_password_that_was_meant(secrets: Path):
    start(secrets)

    assert written(secrets, "pgpass").read_text() == r"*:*:*:*:with\:colon\\and backslash" + "\n"

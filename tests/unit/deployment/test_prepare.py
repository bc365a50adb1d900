"""`make secrets`, and what stops `make up`."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.unit.deployment.merged import DEPLOY

CHECKOUT = DEPLOY.parent
OLENS = f"{sys.executable} -m opinionlens_cli.main"

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What `make` needs of a checkout, and a `docker` that writes down what it is asked."""
    project = tmp_path / "project"
    shutil.copytree(DEPLOY, project / "deploy", ignore=shutil.ignore_patterns("secrets", ".env"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, project)
    install_docker(project)
    (project / "stack.json").write_text('{"services": {}}')
    return project


def install_docker(project: Path, version: str = "2.39.1") -> None:
    docker = project / "bin/docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(
        f"#!/bin/sh\n"
        f'if [ "$*" = "compose version --short" ]; then echo {version}; exit; fi\n'
        f'case "$*" in *"config --format json") cat "{project}/stack.json"; exit;; esac\n'
        # Without a format, what the engine says has identities and times, which hold any digits.
        f'if [ "$1 $2" = "inspect --format" ]; then cat "{project}/ports.json"; exit; fi\n'
        f'if [ "$1" = inspect ]; then echo "Id: 5c8443e1"; cat "{project}/ports.json"; exit; fi\n'
        f'case "$*" in *"--file - up"*) cat > "{project}/overlay.json";; esac\n'
        f'echo "$OLENS_VERSION: $*" >> "{project}/asked"\n'
    )
    docker.chmod(0o755)


@pytest.fixture
def make(project: Path) -> Make:
    def run(*targets: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *targets]
        path = f"{project / 'bin'}:/usr/bin:/bin"
        environment = {"PATH": path, "PYTHONPATH": str(CHECKOUT), "HASH_SECRET": "sha256sum"}
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)

    return run


def asked(project: Path) -> str:
    """What Docker was asked to do."""
    return (project / "asked").read_text() if (project / "asked").exists() else ""


def choose(project: Path, **choices: str) -> None:
    file = project / "deploy/.env"
    lines = [line for line in file.read_text().splitlines() if line.split("=")[0] not in choices]
    file.write_text("\n".join([*lines, *(f"{k}={v}" for k, v in choices.items())]) + "\n")


# Writing


def test_secrets_are_for_the_eyes_of_the_services_alone(project: Path, make: Make):
    done = make("secrets")

    assert done.returncode == 0, done.stderr
    folder = project / "deploy/secrets"
    uid = int((project / "deploy/.env").read_text().split("OLENS_UID=")[1].split()[0])
    assert uid == (os.getuid() or 10001)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o600, uid), path
    assert stat.S_IMODE((project / "backups").stat().st_mode) == 0o700
    assert stat.S_IMODE((project / "backups/metrics").stat().st_mode) == 0o755
    random = [p.read_text() for p in folder.iterdir() if p.suffix == "" and "_users" not in p.name]
    assert sorted(map(len, random)) == [0] + [44] * 9
    assert len(set(random)) == len(random)
    shown = done.stdout + done.stderr
    assert not [secret for secret in random if secret and secret.strip() in shown]


def test_a_second_run_keeps_what_exists(project: Path, make: Make):
    make("secrets")
    (project / "deploy/secrets/exporter_password").unlink()
    choose(project, OLENS_DOMAIN="example.org")
    files = [project / "deploy/.env", *(project / "deploy/secrets").iterdir()]
    before = {path: path.read_text() for path in files}

    done = make("secrets")

    assert "exporter_password" in done.stdout
    assert {path: path.read_text() for path in before} == before
    assert (project / "deploy/secrets/exporter_password").read_text().strip()
    assert "nothing" in make("secrets").stdout


def test_the_service_takes_its_settings_and_the_admin_gets_in(
    project: Path, make: Make, monkeypatch: pytest.MonkeyPatch
):
    from argon2 import PasswordHasher

    from pipelines.config.settings import load_settings

    make("secrets", f"HASH_SECRET={OLENS} config hash-secret")
    secrets = project / "deploy/secrets"
    (project / "conf").mkdir()
    shutil.copy(secrets / "app.toml", project / "conf/.secrets.toml")
    monkeypatch.setenv("OLENS_ENV", "prod")
    settings = load_settings(project)

    admin_secret = (secrets / "admin_secret").read_text().strip()
    assert PasswordHasher().verify(settings.serving.admin_secret_hash, admin_secret)
    assert len(settings.serving.session_secret) >= 32
    # Of the account that can only read.
    assert settings.mlflow.registry_username == "service"
    password = (secrets / "registry_service_password").read_text().strip()
    assert settings.mlflow.registry_password == password


def test_the_proxy_lets_in_whoever_has_the_password(project: Path, make: Make):
    # What RFC 2307 calls {SHA}, worked out by another program than ours.
    make("secrets")
    for user, name in (("operator", "operator"), ("admin", "registry_admin")):
        password = (project / f"deploy/secrets/{name}_password").read_text().strip()
        users = (project / f"deploy/secrets/{name.split('_')[0]}_users").read_text()
        digest = subprocess.run(
            "openssl dgst -sha1 -binary | openssl base64",
            shell=True,
            input=password.encode(),
            capture_output=True,
            check=True,
        )
        assert users == f"{user}:{{SHA}}{digest.stdout.decode().strip()}\n"


@pytest.mark.parametrize(
    ("password", "made"),
    [
        ("operator_password", "operator_users"),
        ("registry_admin_password", "registry_users"),
        ("admin_secret", "app.toml"),
        ("registry_service_password", "app.toml"),
    ],
)
def test_a_new_password_wants_a_new_file_that_is_made_from_it(
    project: Path, make: Make, password: str, made: str
):
    make("secrets")
    secrets = project / "deploy/secrets"
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    (secrets / password).unlink()

    # Also when it is asked again: nothing was written in between.
    for _ in range(2):
        done = make("secrets")
        assert done.returncode != 0
        assert f"{made} was made from an older {password}; delete it" in done.stderr
        assert not (secrets / password).exists()

    (secrets / made).unlink()
    assert make("secrets").returncode == 0
    assert (secrets / password).read_text() != before[password]
    assert (secrets / made).read_text() != before[made]


def test_a_secret_that_cannot_be_hashed_is_explained(project: Path, make: Make):
    done = make("secrets", "HASH_SECRET=false")

    assert done.returncode != 0
    assert "make build" in done.stderr
    assert not (project / "deploy/secrets/app.toml").exists()


# Checking


def test_a_prepared_stack_is_started(project: Path, make: Make):
    make("secrets")

    done = make("up")

    assert done.returncode == 0, done.stderr
    assert "compose.local.yaml --file - up --detach --wait" in asked(project)
    assert asked(project).startswith("0.")  # the version, for the names of the images


def test_a_prepared_public_stack_is_started(project: Path, make: Make):
    make("secrets")
    choose(project, OLENS_DOMAIN="reviews.example.org", OLENS_ACME_EMAIL="me@example.org")

    done = make("up-prod")

    assert done.returncode == 0, done.stderr
    assert "compose.prod.yaml --file - up --detach --wait" in asked(project)


STACK: Final = {
    "services": {
        "proxy": {
            "volumes": [
                {"type": "bind", "source": "{deploy}/traefik"},
                {"type": "bind", "source": "/etc"},
                {"type": "volume", "source": "data"},
            ],
            "secrets": [{"source": "users"}],
        },
        "database": {"volumes": [{"type": "volume", "source": "data"}]},
    },
    "secrets": {"users": {"file": "{deploy}/secrets/operator_users"}},
}
"""What `docker compose config` tells of two services."""


@pytest.mark.parametrize(
    "changed", ["traefik/routes.yml", "traefik/new.yml", "secrets/operator_users"]
)
def test_a_service_whose_files_have_changed_is_started_anew(
    project: Path, make: Make, changed: str
):
    make("secrets")
    stack = json.dumps(STACK).replace("{deploy}", str(project / "deploy"))
    (project / "stack.json").write_text(stack)

    def label() -> str:
        assert make("up").returncode == 0
        overlay = json.loads((project / "overlay.json").read_text())
        # Compose would start the database anew, too, if it got another label.
        assert overlay["services"].keys() == {"proxy"}
        (value,) = overlay["services"]["proxy"]["labels"].values()
        return str(value)

    before = label()
    assert label() == before
    with (project / "deploy" / changed).open("a") as file:
        file.write("# another\n")
    (project / "deploy" / changed).chmod(0o600 if "secrets" in changed else 0o644)

    assert label() != before


def test_nothing_is_started_from_files_that_compose_refuses(project: Path, make: Make):
    make("secrets")
    (project / "stack.json").write_text("")

    done = make("up")

    assert "compose did not describe the stack" in done.stderr


def test_nothing_is_started_before_there_are_secrets(project: Path, make: Make):
    done = make("up")

    assert done.returncode != 0
    assert "deploy/secrets/postgres_password is missing; `make secrets` writes it" in done.stderr
    assert asked(project) == ""


@pytest.mark.parametrize(
    ("target", "name", "spoil", "reason"),
    [
        ("up", "app.toml", lambda path: path.unlink(), "is missing"),
        ("up", "postgres_password", lambda path: path.chmod(0o644), "can be read by others; chmod"),
        ("up-prod", "postgres_password", lambda path: path.chmod(0o640), "can be read by others"),
        ("up", "registry_users", lambda path: path.write_text(""), "is empty"),
        ("up-prod", "app.toml", lambda path: (path.unlink(), path.mkdir()), "is no file"),
    ],
)
def test_a_spoilt_secret_stops_it(
    project: Path,
    make: Make,
    target: str,
    name: str,
    spoil: Callable[[Path], None],
    reason: str,
):
    make("secrets")
    choose(project, OLENS_DOMAIN="example.org", OLENS_ACME_EMAIL="me@example.org")
    spoil(project / "deploy/secrets" / name)

    done = make(target)

    assert done.returncode != 0
    assert f"{name} {reason}" in done.stderr
    assert asked(project) == ""


def test_the_receiver_of_alerts_may_be_empty_but_not_public(project: Path, make: Make):
    make("secrets")
    assert (project / "deploy/secrets/alert_receiver").read_text() == ""
    assert make("up").returncode == 0

    (project / "deploy/secrets/alert_receiver").chmod(0o644)

    assert "alert_receiver can be read by others" in make("up").stderr


@pytest.mark.parametrize(
    ("target", "choices", "reason"),
    [
        ("up-prod", {}, "OLENS_DOMAIN must be a domain of yours"),
        ("up-prod", {"OLENS_DOMAIN": "localhost"}, "OLENS_DOMAIN must be"),
        ("up-prod", {"OLENS_DOMAIN": "https://example.org"}, "OLENS_DOMAIN must be"),
        ("up-prod", {"OLENS_DOMAIN": "example.org"}, "OLENS_ACME_EMAIL must be"),
        ("up-prod", {"OLENS_ACME_EMAIL": "me"}, "OLENS_ACME_EMAIL must be"),
        ("up", {"OLENS_UID": "0"}, "services must not be root"),
        ("up", {"OLENS_UID": ""}, "does not set OLENS_UID"),
        ("up", {"OLENS_UID": "4321"}, "does not belong to OLENS_UID"),
    ],
)
def test_a_missing_choice_stops_it(
    project: Path, make: Make, target: str, choices: dict[str, str], reason: str
):
    make("secrets")
    choose(project, **choices)

    done = make(target)

    assert done.returncode != 0
    assert reason in done.stderr
    assert asked(project) == ""


def test_a_tight_umask_is_noticed(project: Path, make: Make):
    make("secrets")
    (project / "deploy/traefik/routes.yml").chmod(0o600)

    done = make("up")

    assert "chmod -R go+rX" in done.stderr
    assert asked(project) == ""


@pytest.mark.parametrize(
    ("version", "reason"), [("", "is missing"), ("2.23.0", "is too old"), ("1.29.2", "is too old")]
)
def test_docker_compose_must_be_there_and_new_enough(
    project: Path, make: Make, version: str, reason: str
):
    make("secrets")
    install_docker(project, version)

    done = make("up")

    assert done.returncode != 0
    assert reason in done.stderr
    assert asked(project) == ""


def test_other_targets_know_nothing_of_the_deployment(make: Make):
    # A variable that begins with OLENS_ would be a setting.
    for target in ("test", "quickstart", "install", "lint"):
        assert "OLENS_" not in make("--dry-run", target).stdout
    done = make("--eval=env: ; @env", "env")
    assert "OLENS_" not in done.stdout


def test_git_ignores_what_is_secret():
    paths = ["deploy/secrets/app.toml", "deploy/.env", "backups/x/mlflow.dump"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *paths], cwd=CHECKOUT, capture_output=True, text=True
    )

    assert done.stdout.split() == paths


@pytest.mark.parametrize(
    ("published", "stack"),
    [
        ({"8080/tcp": [{"HostPort": "80"}]}, "local"),
        ({"8080/tcp": [{"HostPort": "80"}], "8443/tcp": [{"HostPort": "443"}]}, "prod"),
    ],
)
@pytest.mark.parametrize("target", ["backup", "migrate"])
def test_compose_is_given_the_files_of_the_stack_that_runs(
    project: Path, make: Make, target: str, published: dict[str, object], stack: str
):
    (project / "ports.json").write_text(json.dumps(published))
    (project / "backups").mkdir()

    done = make(target)

    assert done.returncode == 0, done.stderr
    runs = [line for line in asked(project).splitlines() if " run " in line]
    assert runs
    assert [line for line in runs if f"compose.{stack}.yaml run" not in line] == []

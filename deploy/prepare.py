"""Write the secrets and the choices of the deployment, and check both before it is started.

    python3 deploy/prepare.py secrets -- COMMAND...   # prints the hash of what it reads
    python3 deploy/prepare.py check [--public]
    docker compose config --format json | python3 deploy/prepare.py sums   # an overlay of compose

`make secrets`, `make up` and `make up-prod` call this. It needs Python's standard library only.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).resolve().parent

RANDOM = (
    "admin_secret",
    "exporter_password",
    "grafana_admin_password",
    "grafana_secret_key",
    "operator_password",
    "postgres_password",
    "registry_admin_password",
    "registry_service_password",
    "registry_session_key",
)
"""Secrets that are nothing but random."""

MADE = {
    "app.toml": ("admin_secret", "registry_service_password"),
    "operator_users": ("operator_password",),
    "registry_users": ("registry_admin_password",),
}
"""Secrets that are made from others."""

OPTIONAL = ("alert_receiver",)
"""Secrets that may be empty; compose wants their files all the same."""

CONFIGURATION = ("alertmanager", "grafana", "postgres", "prometheus", "traefik")
"""Folders that are mounted into services."""

UNPRIVILEGED = 10001
"""The user of the services where root deploys."""

LABEL = "org.opinionlens.configuration"

COMPOSE = (2, 24)
"""The oldest version of docker compose that we support."""

DOMAIN = re.compile(r"(?!-)([a-z0-9-]{1,63}\.)+[a-z]{2,63}")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

CHOICES = """\
# Choices of this deployment, none of them secret. `make secrets` wrote this file and leaves it
# alone from now on. Lines that begin with # show what holds without them, or an example.

# The user of the services: the owner of secrets/.
OLENS_UID={uid}
OLENS_GID={gid}

# For `make up-prod`. The service gets this name; mlflow., grafana. and prometheus. below it lead to
# the others. All four must lead to this machine.
OLENS_DOMAIN=
# Whom Let's Encrypt may write to.
OLENS_ACME_EMAIL=

# For `make up`: the port on this machine.
#OLENS_HTTP_PORT=80

# Processes of the service.
#OLENS_WORKERS=2
# Let the service take over whichever version of the registry has this alias.
#OLENS_FOLLOW=reviews@champion
# Let users correct verdicts, which stores their texts for 90 days (docs/serving.md, "Corrections").
#OLENS_FEEDBACK=true

# How long metrics are kept.
#OLENS_METRICS_RETENTION=30d
# Receiver of alerts: see alertmanager/alertmanager.yml.
#OLENS_ALERTMANAGER_CONFIG=./alertmanager/alertmanager.local.yml
# Begin of the proxy's network, should the machine use it for something else.
#OLENS_SUBNET=172.30.253
#OLENS_SUBNET6=fd3b:5c1e:93a7
# For `make up-prod` on a machine without IPv6.
#OLENS_IPV6=true
"""


class NotReadyError(Exception):
    """Why the deployment cannot be started, a line for each reason."""


def write_secrets(deploy: Path, hash_secret: Callable[[str], str]) -> list[str]:
    """Write what is missing below `deploy`; gives a line for each file that was written.

    Raises
    ------
    NotReadyError
        If the hash of the admin's secret cannot be made, or a file is older than its source.
    """
    owner = (os.getuid() or UNPRIVILEGED, os.getgid() if os.getuid() else UNPRIVILEGED)
    folder = deploy / "secrets"
    check_sources(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    make_backups_folder(deploy.parent / "backups")
    written = []
    if not (deploy / ".env").exists():
        (deploy / ".env").write_text(CHOICES.format(uid=owner[0], gid=owner[1]))
        written.append(".env")
    for name in (*RANDOM, *OPTIONAL, *MADE):
        if not (folder / name).exists():
            write(folder / name, content(folder, name, hash_secret), owner)
            written.append(name)
    return written


def check_sources(folder: Path) -> None:
    """Refuse to write a secret anew as long as there is one that was made from the old one."""
    reasons = [
        f"{folder / made} was made from an older {source}; delete it, too"
        for made, sources in MADE.items()
        for source in sources
        if (folder / made).exists() and not (folder / source).exists()
    ]
    if reasons:
        raise NotReadyError("\n".join(reasons))


def make_backups_folder(folder: Path) -> None:
    """The backups are their owner's; when the last one was made is for node-exporter to read."""
    for path, mode in ((folder, 0o700), (folder / "metrics", 0o755)):
        path.mkdir(exist_ok=True)
        path.chmod(mode)


def content(folder: Path, name: str, hash_secret: Callable[[str], str]) -> str:
    """What a new secret holds."""
    if name in RANDOM:
        return secrets.token_urlsafe(32) + "\n"
    if name in OPTIONAL:
        return ""
    sources = [(folder / source).read_text().rstrip("\n") for source in MADE[name]]
    if name == "operator_users":
        return htpasswd("operator", sources[0])
    if name == "registry_users":
        return htpasswd("admin", sources[0])
    return settings(hash_secret(sources[0]), sources[1])


def settings(admin_hash: str, registry_password: str) -> str:
    """The secrets of the service, as it reads them from ``conf/.secrets.toml``."""
    return (
        "# conf/.secrets.toml of the service; its keys are in conf/.secrets.example.toml.\n"
        "[default.serving]\n"
        f'admin_secret_hash = "{admin_hash}"\n'
        f'session_secret = "{secrets.token_urlsafe(48)}"\n'
        "# api_keys = []   # olens config new-api-key; none: everyone may predict\n\n"
        "[default.mlflow]\n"
        'registry_username = "service"\n'
        f'registry_password = "{registry_password}"\n'
    )


def htpasswd(name: str, password: str) -> str:
    """A line of a file of users. A quick hash suffices: nobody guesses 256 random bits."""
    digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()
    return f"{name}:{{SHA}}{digest}\n"


def write(path: Path, text: str, owner: tuple[int, int]) -> None:
    """Write a file that its owner alone may ever read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if os.getuid() == 0:
            os.fchown(descriptor, *owner)
        file.write(text)


def hash_with(command: Sequence[str]) -> Callable[[str], str]:
    """A function that lets `command` hash what it reads from standard input."""

    def hash_secret(secret: str) -> str:
        try:
            done = subprocess.run(command, input=secret, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or str(error)
            raise NotReadyError(
                "the admin's secret cannot be hashed; `make build` makes the image that does it, "
                f"`make install` the command.\n{why.strip()}"
            ) from None
        return done.stdout.strip()

    return hash_secret


def check(deploy: Path, public: bool) -> None:
    """Refuse what would not start, or would not be safe to start, with all reasons at once."""
    chosen = choices(deploy / ".env")
    reasons = [*check_secrets(deploy / "secrets", chosen), *check_choices(deploy, chosen, public)]
    reasons += [*check_configuration(deploy), *check_compose()]
    if reasons:
        raise NotReadyError("\n".join(reasons))


def check_secrets(folder: Path, chosen: dict[str, str]) -> list[str]:
    """Each must be there, for the eyes of the services alone."""
    reasons = []
    for name in (*RANDOM, *MADE, *OPTIONAL):
        path = folder / name
        try:
            found = path.stat()
        except OSError:
            reasons.append(f"{path} is missing; `make secrets` writes it")
            continue
        if not stat.S_ISREG(found.st_mode):
            reasons.append(f"{path} is no file")
        elif stat.S_IMODE(found.st_mode) & 0o077:
            reasons.append(f"{path} can be read by others; chmod 600 {path}")
        elif not found.st_size and name not in OPTIONAL:
            reasons.append(f"{path} is empty; delete it, and `make secrets` writes it anew")
        elif str(found.st_uid) != chosen.get("OLENS_UID", str(found.st_uid)):
            reasons.append(f"{path} does not belong to OLENS_UID of {folder.parent / '.env'}")
    return reasons


def check_choices(deploy: Path, chosen: dict[str, str], public: bool) -> list[str]:
    """What has no default must be chosen."""
    file = deploy / ".env"
    reasons = [
        f"{file} does not set {name}; `make secrets` writes a new file where there is none"
        for name in ("OLENS_UID", "OLENS_GID")
        if not chosen.get(name, "").isdigit()
    ]
    if "0" in (chosen.get("OLENS_UID"), chosen.get("OLENS_GID")):
        reasons.append(f"{file}: services must not be root; OLENS_UID and OLENS_GID are 0")
    domain, email = chosen.get("OLENS_DOMAIN", ""), chosen.get("OLENS_ACME_EMAIL", "")
    if public and not DOMAIN.fullmatch(domain):
        reasons.append(f"{file}: OLENS_DOMAIN must be a domain of yours, like example.org")
    if public and chosen.get("OLENS_IPV6") != "false" and not has_ipv6():
        reasons.append(f"{file}: this machine has no IPv6; set OLENS_IPV6=false")
    if public and not EMAIL.fullmatch(email):
        reasons.append(f"{file}: OLENS_ACME_EMAIL must be an e-mail address, for Let's Encrypt")
    return reasons


def has_ipv6() -> bool:
    """Whether the kernel knows IPv6; of other systems than Linux, it is their engine that does."""
    return sys.platform != "linux" or Path("/proc/net/if_inet6").exists()


def check_configuration(deploy: Path) -> list[str]:
    """Services read it as users of their own, whatever the umask of whoever cloned it was."""
    folders = [deploy / name for name in CONFIGURATION]
    paths = {folder: [folder, *folder.rglob("*")] for folder in folders}
    return [
        f"{folder} cannot be read by the services; chmod -R go+rX {folder}"
        for folder in folders
        if any(path.stat().st_mode & 0o004 == 0 for path in paths[folder])
    ]


def check_compose() -> list[str]:
    """Docker's own tool must be there, and new enough."""
    needed = ".".join(map(str, COMPOSE))
    version = ""
    if shutil.which("docker"):
        command = ["docker", "compose", "version", "--short"]
        version = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    if not (numbers := re.match(r"v?(\d+)\.(\d+)", version)):
        return [f"`docker compose` is missing: install Docker with its compose plugin, {needed}+"]
    if tuple(map(int, numbers.groups())) < COMPOSE:
        return [f"docker compose {version} is too old; {needed} or newer is needed"]
    return []


def choices(file: Path) -> dict[str, str]:
    """Variables of a file of settings, as compose reads them."""
    if not file.exists():
        return {}
    lines = [line.strip() for line in file.read_text().splitlines()]
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def sums(stack: dict[str, Any], deploy: Path) -> dict[str, Any]:
    """An overlay that labels each service with a checksum of the files that it gets from `deploy`.

    Compose starts anew whatever has other labels than before, but does not look into files.
    """
    files = {name: secret["file"] for name, secret in stack.get("secrets", {}).items()}
    labels = {}
    for name, service in stack["services"].items():
        sources = [
            mount["source"] for mount in service.get("volumes", ()) if mount["type"] == "bind"
        ]
        sources += [files[secret["source"]] for secret in service.get("secrets", ())]
        mounted = [path for path in map(Path, sources) if path.is_relative_to(deploy)]
        if mounted:
            labels[name] = {"labels": {LABEL: checksum(mounted)}}
    return {"services": labels}


def checksum(paths: Sequence[Path]) -> str:
    """Of files, and of all files below folders."""
    digest = hashlib.sha256()
    below = {file for path in paths for file in (path, *path.rglob("*")) if file.is_file()}
    for file in sorted(below):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{content}  {file.name}\n".encode())
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says; end with 1 and a sentence if it cannot be done."""
    parser = argparse.ArgumentParser(description="Prepare the deployment.")
    parser.add_argument("--deploy", type=Path, default=DEPLOY, help="folder of compose.yaml")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("secrets").add_argument("hash", nargs="+")
    commands.add_parser("check").add_argument("--public", action="store_true")
    commands.add_parser("sums")
    options = parser.parse_args(arguments)
    try:
        if options.command == "secrets":
            written = write_secrets(options.deploy, hash_with(options.hash))
            print(f"Written: {', '.join(written) or 'nothing, all is there already'}.")
        elif options.command == "sums":
            json.dump(sums(json.load(sys.stdin), options.deploy), sys.stdout)
        else:
            check(options.deploy, options.public)
    except json.JSONDecodeError:
        sys.exit("compose did not describe the stack; its message is above")
    except NotReadyError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""The deployment in an engine: a checkout of its own, `make`, and visitors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.deployment.engine import Done, Engine, Namespace, run
from tests.integration.commands import CHECKOUT, OLENS
from tests.support import PATIENCE, wait_for

SERVICES: Final = (
    *("app", "registry", "postgres", "traefik", "prometheus", "alertmanager", "grafana"),
    *("node-exporter", "postgres-exporter"),
)


@dataclass(frozen=True)
class Answer:
    """What a visitor gets."""

    status: int
    headers: str
    body: str


@dataclass(frozen=True)
class Site:
    """The deployment, as its operator has it."""

    engine: Engine
    checkout: Path

    def make(self, *arguments: str, check: bool = True) -> Done:
        """Run `make` as the operator does."""
        command = ["make", "--no-print-directory", *arguments]
        return run(command, environment=self.engine.environment, cwd=self.checkout, check=check)

    def choose(self, **choices: str) -> None:
        """Change lines of deploy/.env."""
        with (self.checkout / "deploy/.env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in choices.items())

    def secret(self, name: str) -> str:
        """What `make secrets` has made up."""
        return (self.checkout / "deploy/secrets" / name).read_text().strip()

    def container(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        return self.engine.inspect(f"opinionlens-{service}-1")

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine knows of all containers, by service."""
        names = [f"opinionlens-{service}-1" for service in SERVICES]
        return dict(zip(SERVICES, json.loads(self.engine("inspect", *names)), strict=True))

    def unhealthy(self) -> set[str]:
        """Services that do not run, or whose health check fails."""
        states = {service: one["State"] for service, one in self.containers().items()}
        return {
            service
            for service, state in states.items()
            if not state["Running"] or state["Health"]["Status"] != "healthy"
        }

    def left_out(self) -> set[str]:
        """Services that the proxy sends nobody to, since they failed its last look at them."""
        ask = ["wget", "-q", "-O", "-", "http://127.0.0.1:8082/metrics"]
        metrics = self.engine("exec", "opinionlens-traefik-1", *ask, check=False)
        return set(re.findall(r'traefik_service_server_up\{service="(\w+)@file".*\} 0', metrics))

    def wait_until_healthy(self) -> None:
        """Return when all is well, and the proxy knows it."""

        def ill() -> set[str]:
            return self.unhealthy() or self.left_out()

        wait_for(lambda: not ill(), ill)

    def destroy_volumes(self) -> None:
        """Lose all data of the stack, which does not run."""
        self.engine("volume", "rm", *self.engine("volume", "ls", "--quiet").split())


def curl(visitor: Namespace, url: str, *options: str) -> Answer:
    """Ask for `url` from where the visitor is; status 0 if nobody answers."""
    command = ["curl", "--silent", "--include", "--path-as-is", "--max-time", "30", *options, url]
    said = visitor.run(*command, check=False).stdout
    head, _, body = said.partition("\n\n")
    return Answer(int(head.split()[1]) if head else 0, head, body)


def olens(
    visitor: Namespace, *arguments: str, stdin: str, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the command where the visitor is, without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OLENS_")}
    return subprocess.run(
        visitor.command(*OLENS, *arguments),
        env={**kept, "PYTHONPATH": str(CHECKOUT), **variables},
        input=stdin,
        capture_output=True,
        text=True,
    )


def check_out(target: Path, commit: str = "") -> None:
    """Put the project's files into `target`, as `git pull` does; without a commit, as they are now.

    What git ignores stays: choices, secrets, backups.
    """
    for path in target.glob("*"):
        if path.name not in {"backups", "deploy"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    listing = ["ls-files", "--cached", "--others", "--exclude-standard"]
    if commit:
        pack = ["git", "-C", CHECKOUT, "archive", commit]
    else:
        files = run(["git", "-C", CHECKOUT, *listing]).stdout.splitlines()
        there = [name for name in files if (CHECKOUT / name).exists()]
        pack = ["tar", "--create", "--directory", CHECKOUT, *there]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as archive:
        run(["tar", "--extract", "--directory", target], stdin=archive.stdout)


def commit_before() -> str:
    """The commit to upgrade from: the last one, or the one before if nothing has changed since."""
    changed = run(["git", "-C", CHECKOUT, "status", "--porcelain"]).stdout
    parent = ["git", "-C", CHECKOUT, "rev-parse", "--verify", "--quiet", "HEAD~1"]
    return "HEAD" if changed or run(parent, check=False).returncode else "HEAD~1"


@contextmanager
def authority(engine: Engine, certificate: Path, key: Path, address: str) -> Iterator[str]:
    """Let's Encrypt's test server, which looks for all names at `address`; gives its directory."""
    config = engine.folder / "pebble.json"
    config.write_text(
        f'{{"pebble": {{"listenAddress": "{address}:14000", '
        f'"managementListenAddress": "{address}:15000", "certificate": "{certificate}", '
        f'"privateKey": "{key}", "httpPort": 80, "tlsPort": 443}}}}'
    )
    dns = ["pebble-challtestsrv", "-defaultIPv4", address, "-defaultIPv6", "", "-dns01", ":8053"]
    dns += ["-http01", "", "-https01", "", "-tlsalpn01", ""]
    pebble = ["pebble", "-config", str(config), "-dnsserver", "127.0.0.1:8053"]
    variables = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with (engine.folder / "authority.log").open("w") as log:
        processes = [
            subprocess.Popen(
                engine.namespace.command(*command), env=variables, stdout=log, stderr=log
            )
            for command in (dns, pebble)
        ]
        try:
            yield f"https://{address}:14000/dir"
        finally:
            for process in processes:
                process.terminate()
                process.wait(PATIENCE)

"""The real Traefik on this machine, with the deployment's configuration and other addresses."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from tests.integration.services import answers, free_port, running
from tests.integration.stack import DEPLOY
from tests.support import PATIENCE, program

TRAEFIK: Final = DEPLOY / "traefik"
DOMAINS: Final = {"local": "localhost", "prod": "example.org"}
HOSTS: Final = {"local": "opinionlens.localhost", "prod": "example.org"}


@dataclass(frozen=True)
class Answer:
    """What came back through the proxy."""

    status: int
    headers: http.client.HTTPMessage
    body: str


@dataclass(frozen=True)
class Proxy:
    """A running Traefik."""

    stack: str
    ports: Mapping[str, int]
    """By entry point."""
    folder: Path

    def get(
        self,
        path: str,
        below: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        plain: bool = False,
    ) -> Answer:
        """Ask for exactly this path, which clients of a higher kind would tidy.

        Parameters
        ----------
        below : str
            The name below the domain; without it, the service's own.
        plain : bool
            Over HTTP, also where the stack speaks HTTPS.
        """
        with self.connect(below, plain=plain) as connection:
            return ask(connection, path, headers)

    @contextmanager
    def connect(
        self, below: str = "", *, plain: bool = False
    ) -> Iterator[http.client.HTTPConnection]:
        """A connection for many requests."""
        host = f"{below}.{DOMAINS[self.stack]}" if below else HOSTS[self.stack]
        secure = self.stack == "prod" and not plain
        connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        port = self.ports["WEBSECURE" if secure else "WEB"]
        connection.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        if secure:
            context = ssl.create_default_context(cafile=str(self.folder / "certificate.pem"))
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        try:
            yield connection
        finally:
            connection.close()

    def failures(self) -> str:
        """The access log."""
        return (self.folder / "access.log").read_text()


def ask(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask for a path as it stands."""
    connection.putrequest("GET", path)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read().decode())


@contextmanager
def proxy(
    folder: Path, stack: str, addresses: Mapping[str, str], secrets: Path | None = None
) -> Iterator[Proxy]:
    """Traefik in front of the services at `addresses`, by their names and ports in compose."""
    environment = static(stack)
    entries = [name.split("_")[2] for name in environment if name.endswith("_ADDRESS")]
    ports = {name: free_port() for name in entries}
    environment |= {f"TRAEFIK_ENTRYPOINTS_{k}_ADDRESS": f"127.0.0.1:{v}" for k, v in ports.items()}
    environment |= {
        "OLENS_HOST": HOSTS[stack],
        "OLENS_DOMAIN": DOMAINS[stack],
        "TRAEFIK_PROVIDERS_FILE_DIRECTORY": str(folder / "dynamic"),
    }
    if stack == "prod":
        acme = "TRAEFIK_CERTIFICATESRESOLVERS_LETSENCRYPT_ACME"
        environment |= {f"{acme}_STORAGE": str(folder / "acme.json"), f"{acme}_EMAIL": "me@x.org"}
        environment["TRAEFIK_ACCESSLOG_FILEPATH"] = str(folder / "access.log")
        _certify(folder)
    _configure(folder, stack, addresses, secrets)
    # It answers to pings before it has read its routes.
    ready = partial(_has_routes, f"http://127.0.0.1:{ports['METRICS']}/metrics")
    with running([str(program("traefik"))], folder, ready, environment):
        yield Proxy(stack, ports, folder)


def static(stack: str) -> dict[str, str]:
    """Traefik's variables in a stack."""
    files = ["static.env", *(["static.prod.env"] if stack == "prod" else [])]
    lines = [line for name in files for line in (TRAEFIK / name).read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _has_routes(metrics: str) -> bool:
    return (
        answers(metrics)
        and "traefik_service_server_up{" in httpx.get(metrics, timeout=PATIENCE).text
    )


def _configure(
    folder: Path, stack: str, addresses: Mapping[str, str], secrets: Path | None
) -> None:
    (folder / "dynamic").mkdir(exist_ok=True)
    for name in ("routes.yml", f"{stack}.yml"):
        text = (TRAEFIK / name).read_text()
        for service, address in addresses.items():
            text = text.replace(f"http://{service}", f"http://{address}")
        (folder / "dynamic" / name).write_text(text.replace("/run/secrets", str(secrets)))


def _certify(folder: Path) -> None:
    """Give Traefik a certificate for all names, so that it asks nobody for one."""
    names = ",".join(f"DNS:{prefix}{DOMAINS['prod']}" for prefix in ("", "*."))
    command = [str(program("openssl")), "req", "-x509", "-newkey", "rsa:2048", "-noenc"]
    command += ["-subj", "/CN=test", "-addext", f"subjectAltName={names}"]
    command += ["-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "dynamic").mkdir()
    files = f"certFile: {folder}/certificate.pem, keyFile: {folder}/key.pem"
    text = f"tls: {{certificates: [{{{files}}}]}}"
    (folder / "dynamic/certificates.yml").write_text(text)

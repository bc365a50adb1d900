"""The images of docker/, built for real and started as the deployment starts them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final

import httpx
import pytest

from tests.integration.buildah import Buildah, Container, built, container
from tests.integration.commands import OLENS, clean_environment
from tests.integration.services import answers, free_port, running
from tests.integration.stack import database, fetch, make_secrets
from tests.integration.tracked import Tracked

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

MEGABYTE: Final = 1_000_000
LARGEST: Final = 900
"""Megabytes of the service, unpacked, with its base."""

USER: Final = "10001"
"""Who runs the images, and whose secrets root makes."""

SECRETS: Final = "/srv/opinionlens/conf/.secrets.toml"
MODELS: Final = "/srv/opinionlens/models"


@dataclass(frozen=True)
class Started:
    """A container that runs what its image starts."""

    container: Container
    url: str
    process: int
    """The one that its image starts."""
    mounts: Mapping[str, Path]
    variables: Mapping[str, str]


@pytest.fixture(scope="module")
def images() -> Iterator[Buildah]:
    # Not below pytest's folder, which would keep it for three sessions.
    folder = Path(tempfile.mkdtemp(prefix="olens-images-"))
    try:
        with built(folder, "app", "registry") as buildah:
            yield buildah
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, with the secrets of a deployment and folders for its volumes."""
    folder = tmp_path_factory.mktemp("deployment")
    make_secrets(folder)
    for name in ("models", "artifacts"):
        (folder / name).mkdir()
        (folder / name).chmod(0o775)
    return folder


@pytest.fixture(scope="module")
def registry(images: Buildah, checkout: Path) -> Iterator[Started]:
    """The registry's image on a PostgreSQL server."""
    secrets, port = checkout / "deploy/secrets", free_port()
    names = [f"registry_{name}" for name in ("admin_password", "service_password", "session_key")]
    mounts = {f"/run/secrets/{name}": secrets / name for name in ("postgres_password", *names)}
    with database(secrets) as postgres, container(images, "registry") as box:
        variables = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "MLFLOW_HOST": "127.0.0.1",
            "MLFLOW_PORT": str(port),
        }
        mounts["/var/lib/mlflow"] = checkout / "artifacts"
        with started(box, f"http://127.0.0.1:{port}", "/health", mounts, variables) as it:
            yield it


@pytest.fixture(scope="module")
def service(images: Buildah, checkout: Path) -> Iterator[Started]:
    """The service's image, which has the base model only."""
    port = free_port()
    variables = {"OLENS_SERVING__HOST": "127.0.0.1", "OLENS_SERVING__PORT": str(port)}
    mounts = {SECRETS: checkout / "deploy/secrets/app.toml", MODELS: checkout / "models"}
    with (
        container(images, "app") as box,
        started(box, f"http://127.0.0.1:{port}", "/health/ready", mounts, variables) as it,
    ):
        yield it


@contextmanager
def started(
    box: Container,
    url: str,
    health: str,
    mounts: Mapping[str, Path],
    variables: Mapping[str, str],
) -> Iterator[Started]:
    command = box.start(mounts, variables)
    ready, environment = partial(answers, url + health), box.buildah.environment
    with running(command, box.buildah.folder, ready, environment) as process:
        yield Started(box, url, first_of_image(process.pid), mounts, variables)


def first_of_image(process: int) -> int:
    """The process that the image starts: the first one below Buildah's own."""
    while "buildah" in Path(f"/proc/{process}/exe").readlink().name:
        children = Path(f"/proc/{process}/task").glob("*/children")
        process = int(next(filter(None, (path.read_text() for path in children))).split()[0])
    return process


def ends(process: int, seconds: float) -> bool:
    """Whether a process ends in time; what it leaves for its parent to read does not count."""
    status = Path(f"/proc/{process}/status")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.1)
    return False


def predict(service: Started) -> dict[str, Any]:
    text = {"text": "The food was cold and the waiter rude. The view was lovely."}
    answer = httpx.post(f"{service.url}/api/v1/inference/explain", json=text, timeout=30)
    assert answer.status_code in (200, 201), answer.text
    explained: dict[str, Any] = answer.json()
    return explained


def health_check(box: Container, **variables: str) -> int:
    """The exit code of the check that is part of the image."""
    kind, *command = box.buildah.config(box.image)["Healthcheck"]["Test"]
    assert kind == "CMD"
    return box.run(*command, variables=variables).returncode


# What is in the images


def test_the_service_is_small(images: Buildah, record_property: Callable[[str, object], None]):
    sizes = {}
    for name in ("app", "registry"):
        with container(images, name) as box:
            files = [path.lstat() for path in box.root.rglob("*")]
            sizes[name] = sum(file.st_size for file in files if S_ISREG(file.st_mode)) / MEGABYTE

    unpacked = f"service {sizes['app']:.0f} MB, registry {sizes['registry']:.0f} MB, unpacked"
    record_property("measured", unpacked)
    assert sizes["app"] < LARGEST


@pytest.mark.parametrize("name", ["app", "registry"])
def test_images_bring_neither_compiler_nor_installer(images: Buildah, name: str):
    with container(images, name) as box:
        programs = {path.name for path in box.root.glob("*/bin/*")}
        programs |= {path.name for path in box.root.glob("opt/venv/bin/*")}
        packages = {path.name for path in box.root.glob("opt/venv/lib/python3*/site-packages/*")}

    assert "python3" in programs
    assert not programs & {"gcc", "cc", "g++", "ld", "strip", "make", "pip", "pip3"}
    training = {"optuna", "dvc", "matplotlib", "pyarrow", "kagglehub"}
    assert "mlflow" in packages
    assert (name == "app") == (not packages & training)


@pytest.mark.parametrize("name", ["app", "registry"])
def test_images_say_how_they_are_run(images: Buildah, name: str):
    config = images.config(name)

    assert config["User"] == f"{USER}:0"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.title"].startswith("OpinionLens")


def test_byte_code_is_read_without_a_look_at_times(images: Buildah):
    # Builders round times; byte code that does not match them would be made at every start.
    with container(images, "app") as box:
        compiled = list(box.root.glob("opt/venv/lib/python3*/site-packages/**/*.pyc"))
        flags = {path.read_bytes()[4:8] for path in compiled}

    assert len(compiled) > 1000
    assert flags == {b"\x01\0\0\0"}


# The service


def test_it_answers_with_the_base_model(service: Started):
    assert fetch(f"{service.url}/health/ready") == {
        "status": "ready",
        "model": "base",
        "problem": None,
    }
    assert predict(service)["prediction"] in {"POSITIVE", "NEGATIVE"}


def test_it_is_nobody_on_a_read_only_root(service: Started):
    status = Path(f"/proc/{service.process}/status").read_text()
    assert f"Uid:\t{USER}\t" in status
    assert "Gid:\t0\t" in status
    mounts = [
        line.split() for line in Path(f"/proc/{service.process}/mounts").read_text().splitlines()
    ]
    options = {target: set(options.split(",")) for _, target, _, options, *_ in mounts}
    assert "ro" in options["/"]


def test_nothing_is_compiled_when_it_runs(service: Started):
    predict(service)

    root = Path(f"/proc/{service.process}/root")
    ready, used = (
        {path.relative_to(folder) for path in folder.rglob("*.nbc")}
        for folder in (root / "opt/compiled", root / "tmp/compiled")
    )
    assert len(ready) > 10
    assert used == ready


def test_its_health_is_checked(service: Started):
    port = service.url.rpartition(":")[2]

    assert health_check(service.container, OLENS_SERVING__PORT=port) == 0
    assert health_check(service.container, OLENS_SERVING__PORT=str(free_port())) != 0


# The registry


def olens(
    registry: Started, *arguments: str, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command on the machine of someone who trains."""
    environment = clean_environment(OLENS_MLFLOW__REGISTRY_URI=registry.url, **variables)
    return subprocess.run(
        [*OLENS, *arguments], input=stdin, env=environment, capture_output=True, text=True
    )


def folded(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said, in one line: it is folded to the terminal's width."""
    return " ".join(done.stderr.split())


def test_models_go_through_the_registry(
    registry: Started, service: Started, tracked: Tracked, checkout: Path
):
    password = (checkout / "deploy/secrets/registry_admin_password").read_text().strip()
    register = ["register", tracked.model_id, "reviews", "--alias", "champion"]
    register += ["--username", "admin", "--password-stdin"]
    store = {
        "OLENS_ROOT": str(checkout),
        "OLENS_MLFLOW__TRACKING_URI": tracked.settings.mlflow.tracking_uri,
    }

    refused = olens(registry, *register, stdin="not the password", **store)
    assert (refused.returncode, " refused " in folded(refused)) == (1, True), refused
    registered = olens(registry, *register, stdin=password, **store)
    assert registered.returncode == 0, registered.stderr

    # The service's image has the credentials in its secrets, if they are mounted.
    fetched = fetch_in(service, registry, {MODELS: checkout / "models"})
    assert (fetched.returncode, " refused " in folded(fetched)) == (1, True), fetched
    secrets = {SECRETS: checkout / "deploy/secrets/app.toml"}
    fetched = fetch_in(service, registry, {MODELS: checkout / "models", **secrets})
    assert fetched.returncode == 0, fetched.stderr

    # Both workers take it up.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answering = {predict(service)["model"] for _ in range(10)}
        if answering == {"reviews-v1"}:
            break
    assert answering == {"reviews-v1"}


def fetch_in(
    service: Started, registry: Started, mounts: Mapping[str, Path]
) -> subprocess.CompletedProcess[str]:
    """`olens fetch` in the service's image, for a running service to take up."""
    with container(service.container.buildah, "app") as box:
        command = [*box.entry_point, "olens", "fetch", "reviews", "--activate"]
        variables = {"OLENS_MLFLOW__REGISTRY_URI": registry.url}
        return box.run(*command, mounts=mounts, variables=variables)


def test_the_registrys_database_can_be_migrated(registry: Started):
    # Like `make migrate`: the entry point gives other commands the secrets, too.
    box = registry.container
    migrate = ["mlflow", "db", "upgrade", "postgresql+psycopg2:///mlflow"]

    migrated = box.run(
        *box.entry_point, *migrate, mounts=registry.mounts, variables=registry.variables
    )

    assert migrated.returncode == 0, migrated.stderr


def test_the_registrys_health_is_checked(registry: Started):
    port = registry.url.rpartition(":")[2]

    assert health_check(registry.container, MLFLOW_PORT=port) == 0
    assert health_check(registry.container, MLFLOW_PORT=str(free_port())) != 0


def test_the_registrys_secrets_are_on_no_command_line(registry: Started, checkout: Path):
    secrets = [path.read_text().strip() for path in (checkout / "deploy/secrets").iterdir()]
    lines = [path / "cmdline" for path in Path("/proc").iterdir() if path.name.isdigit()]
    said = "\n".join(line.read_text() for line in lines if line.exists())
    variables = Path(f"/proc/{registry.process}/environ").read_text()

    assert "mlflow" in said
    # MLflow takes the key that signs its sessions from its environment only.
    allowed = (checkout / "deploy/secrets/registry_session_key").read_text().strip()
    for secret in filter(None, secrets):
        assert secret not in said
        assert secret == allowed or secret not in variables


# Last: what ended is not started again


@pytest.mark.parametrize("name", ["service", "registry"])
def test_they_end_when_they_are_told_to(name: str, request: pytest.FixtureRequest):
    it: Started = request.getfixturevalue(name)

    os.kill(it.process, signal.SIGTERM)

    assert ends(it.process, seconds=15)
    assert not answers(f"{it.url}/health")

"""Images built and started with Buildah, which needs no engine: in a store of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.integration.commands import CHECKOUT
from tests.support import program, require

BASE: Final = "localhost/base"
HOOKS: Final = Path("/usr/share/mmdebstrap/hooks")

READ_ONLY: Final = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
"""A container's root becomes read-only in a mount namespace of its own."""


@dataclass(frozen=True)
class Buildah:
    """The program, with everything it keeps below `folder`."""

    folder: Path
    driver: str

    @property
    def environment(self) -> dict[str, str]:
        """For the program: where it keeps what, and that it needs no runtime."""
        return {
            "BUILDAH_ISOLATION": "chroot",
            "STORAGE_DRIVER": self.driver,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def __call__(self, *arguments: str) -> str:
        """Run a command of Buildah; gives what it prints."""
        done = subprocess.run(
            [str(program("buildah")), *arguments],
            env={**os.environ, **self.environment},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"buildah {arguments[0]}: {(done.stdout + done.stderr)[-4000:]}")
        return done.stdout.strip()

    def build(self, name: str) -> None:
        """Build docker/`name`.Dockerfile on the base, as `make build` does with Docker."""
        options = ["--format=docker", f"--file=docker/{name}.Dockerfile", f"--tag={name}"]
        self("build-using-dockerfile", *options, f"--build-arg=BASE_IMAGE={BASE}", ".")

    def config(self, name: str) -> dict[str, Any]:
        """What Docker reads of an image: user, command, variables, health check."""
        inspected = json.loads(self("inspect", "--type=image", name))
        config: dict[str, Any] = inspected["Docker"]["config"]
        return config


@dataclass(frozen=True)
class Container:
    """A container of an image, in which commands can be run."""

    buildah: Buildah
    image: str
    name: str
    root: Path

    @property
    def entry_point(self) -> list[str]:
        """What its image puts before every command."""
        entry_point: list[str] = self.buildah.config(self.image)["Entrypoint"]
        return entry_point

    def run(
        self,
        *command: str,
        mounts: Mapping[str, Path] = MappingProxyType({}),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as the image's user."""
        return subprocess.run(
            self._run(mounts, variables, command),
            env={**os.environ, **self.buildah.environment},
            capture_output=True,
            text=True,
        )

    def start(self, mounts: Mapping[str, Path], variables: Mapping[str, str]) -> list[str]:
        """The command line that runs what the image starts.

        The root is read-only but for `mounts`, folders and files of this machine, and /tmp.
        Buildah then stumbles at the end, so its exit code says nothing.
        """
        command = [*self.entry_point, *(self.buildah.config(self.image).get("Cmd") or [])]
        self._prepare(mounts)
        unshare = [str(program("unshare")), "--mount", "sh", "-c", READ_ONLY, str(self.root)]
        return [*unshare, *self._run(mounts, variables, command)]

    def _run(
        self, mounts: Mapping[str, Path], variables: Mapping[str, str], command: Sequence[str]
    ) -> list[str]:
        options = ["--mount=type=tmpfs,destination=/tmp"]
        options += [f"--volume={source}:{target}" for target, source in mounts.items()]
        options += [f"--env={name}={value}" for name, value in variables.items()]
        return [str(program("buildah")), "run", *options, self.name, "--", *command]

    def _prepare(self, mounts: Mapping[str, Path]) -> None:
        """Make what is mounted upon, which Docker does before it makes a root read-only."""
        for target, source in {**mounts, "/run/.containerenv": Path("/dev/null")}.items():
            path = self.root / target.lstrip("/")
            if source.is_dir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


@contextmanager
def built(folder: Path, *names: str) -> Iterator[Buildah]:
    """Build images on a small Debian of this machine's mirror; they are gone afterwards."""
    require(os.geteuid() == 0, "only root can build images without an engine")
    buildah = Buildah(folder, "overlay" if _can_overlay(folder) else "vfs")
    _configure(buildah)
    try:
        _import_base(buildah)
        # Waiting for packages and compiling byte code alternate.
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(buildah.build, names))
        yield buildah
    finally:
        # Nothing stays mounted below the folder.
        buildah("rm", "--all")
        buildah("rmi", "--all", "--force")


@contextmanager
def container(buildah: Buildah, image: str) -> Iterator[Container]:
    """A new container of an image."""
    name = buildah("from", image)
    try:
        yield Container(buildah, image, name, Path(buildah("mount", name)))
    finally:
        buildah("rm", name)


def _configure(buildah: Buildah) -> None:
    (buildah.folder / "tmp").mkdir()
    (buildah.folder / "storage.conf").write_text(
        f'[storage]\ndriver = "{buildah.driver}"\n'
        f'graphroot = "{buildah.folder}/{buildah.driver}"\nrunroot = "{buildah.folder}/run"\n'
    )


def _can_overlay(folder: Path) -> bool:
    """Whether layers can be laid over each other here; otherwise each is a copy of all below."""
    parts = [folder / "probe" / name for name in ("lower", "upper", "work", "merged")]
    for part in parts:
        part.mkdir(parents=True)
    lower, upper, work, merged = map(str, parts)
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", layers, merged]
    if subprocess.run(mount, capture_output=True).returncode:
        return False
    subprocess.run(["umount", merged], check=True)
    return True


def _import_base(buildah: Buildah) -> None:
    """Make an image like `python:slim` of Debian's packages, that finds this machine's index."""
    archive = buildah.folder / "base.tar"
    _bootstrap(archive)
    name = buildah("from", "scratch")
    buildah("add", name, str(archive), "/")
    settings = _pip_settings()
    pip = buildah.folder / "pip.conf"
    pip.write_text("[global]\n" + "".join(f"{key} = {settings[key]}\n" for key in settings))
    buildah("add", name, str(pip), "/etc/pip.conf")
    if certificates := settings.get("cert"):
        buildah("add", name, certificates, certificates)
    buildah("commit", "--rm", name, BASE)
    archive.unlink()


def _bootstrap(archive: Path) -> None:
    program("eatmydata")
    subprocess.run(
        [
            str(program("mmdebstrap")),
            "--quiet",
            "--variant=minbase",
            f"--hook-dir={HOOKS / 'merged-usr'}",
            f"--hook-dir={HOOKS / 'eatmydata'}",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
            "--include=ca-certificates,python3-venv,usr-is-merged",
            "bookworm",
            str(archive),
        ],
        check=True,
    )


def _pip_settings() -> dict[str, str]:
    """What pip has to know on this machine to reach its index."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, check=True, capture_output=True, text=True).stdout
    settings = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in ("cert", "index-url", "proxy", "trusted-host"):
            settings[name] = str(literal_eval(value))
    return settings

"""The images of the stack: ours as the Makefile builds them, and stand-ins for all others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from ast import literal_eval
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.deployment.engine import HERE, Engine, run

HOOKS: Final = Path("/usr/share/mmdebstrap/hooks")
STANDINS: Final = HERE / "standins"
DEBIAN: Final = "debian:stand-in"
PROGRAMS: Final = (
    *("busybox", "libnss-wrapper", "passwd", "postgresql-17", "prometheus"),
    *("prometheus-alertmanager", "prometheus-node-exporter", "prometheus-postgres-exporter"),
)
"""Packages of the stand-ins."""


def make_base(engine: Engine, checkout: Path) -> None:
    """Import what our own images stand on."""
    base = re.search(r"ARG BASE_IMAGE=(\S+)", (checkout / "docker/app.Dockerfile").read_text())
    assert base
    packages = ("ca-certificates", "python3-venv")
    _import(engine, base[1], "bookworm", packages, index_settings(engine.folder))


def _import(
    engine: Engine, tag: str, release: str, packages: Sequence[str], hooks: Sequence[str]
) -> None:
    bootstrap = [
        *("mmdebstrap", "--quiet", "--variant=minbase"),
        *(f"--hook-dir={HOOKS / hook}" for hook in ("merged-usr", "eatmydata")),
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
        *(f"--customize-hook={hook}" for hook in hooks),
        f"--include={','.join([*packages, 'usr-is-merged'])}",
        *(release, "-"),
    ]
    with subprocess.Popen(bootstrap, stdout=subprocess.PIPE) as archive:
        engine("import", "-", tag, stdin=archive.stdout)
    assert archive.returncode == 0


def index_settings(folder: Path) -> list[str]:
    """Hooks that tell a base how this machine's pip reaches its index, for pip and for uv."""
    listed = run([sys.executable, "-m", "pip", "config", "list"]).stdout
    pairs = [line.split("=", 1) for line in listed.splitlines()]
    found = {key.rpartition(".")[2]: str(literal_eval(value)) for key, value in pairs}
    kept = {
        key: found[key] for key in ("cert", "index-url", "proxy", "trusted-host") if key in found
    }
    pip, uv = folder / "pip.conf", folder / "uv.toml"
    pip.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in kept.items()))
    for_uv: dict[str, object] = {"system-certs": True}
    for key, name in {"index-url": "index-url", "proxy": "https-proxy"}.items():
        if key in kept:
            for_uv[name] = kept[key]
    for_uv["allow-insecure-host"] = kept.get("trusted-host", "").split()
    # JSON's values are TOML's, too.
    uv.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in for_uv.items()))
    hooks = [f"upload {pip} /etc/pip.conf", 'mkdir -p "$1/etc/uv"', f"upload {uv} /etc/uv/uv.toml"]
    if certificates := kept.get("cert"):
        hooks += [
            f'mkdir -p "$1{Path(certificates).parent}"',
            f"upload {certificates} {certificates}",
        ]
    return hooks


def make_standins(engine: Engine, images: Iterable[str], authority: Path) -> None:
    """Build a stand-in for every one of the `images`; Traefik's trusts the `authority`."""
    _import(engine, DEBIAN, "trixie", PROGRAMS, ['ln -s busybox "$1/bin/wget"'])
    context = engine.folder / "standins"
    shutil.copytree(STANDINS, context)
    shutil.copy(authority, context / "authority.pem")
    shutil.copy(Path(sys.executable).parent / "traefik", context)
    for image in images:
        name = image.partition(":")[0].rpartition("/")[2]
        build = ["build", f"--build-arg=DEBIAN={DEBIAN}", f"--target={name}", f"--tag={image}"]
        engine(*build, str(context))


def pinned(checkout: Path) -> set[str]:
    """Images of the stack that others make."""
    images = re.findall(r"^    image: (\S+)$", (checkout / "deploy/compose.yaml").read_text(), re.M)
    return {image for image in images if not image.startswith("opinionlens-")}

"""The Dockerfiles: what hadolint says of them, and rules of ours that it does not know."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support import program

CHECKOUT: Final = Path(__file__).parents[3]
DOCKERFILES: Final = sorted((CHECKOUT / "docker").glob("*Dockerfile"))


def hadolint(path: Path) -> str:
    command = [str(program("hadolint")), "--no-color", str(path)]
    return subprocess.run(command, capture_output=True, text=True).stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path):
    assert hadolint(path) == ""


def test_hadolint_finds_a_defect(tmp_path: Path):
    broken = tmp_path / "Dockerfile"
    broken.write_text("FROM python:latest\nRUN apt-get install gcc\nCMD olens serve\n")

    assert {"DL3007", "DL3014", "DL3015", "DL3025"} <= set(re.findall(r"DL\d+", hadolint(broken)))


def test_both_stand_on_the_same_pinned_base():
    (default,) = {path.read_text().partition("BASE_IMAGE=")[2].split()[0] for path in DOCKERFILES}

    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", default)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_libraries_come_before_code(path: Path):
    """Else each change of the code would install them anew."""
    before = path.read_text().partition(" AS libraries")[2].partition("uv pip install")[0]
    copied = re.findall(r"^COPY (.+) \S+$", before, re.MULTILINE)

    assert set(copied) <= {"--from=requirements /requirements.txt", "conf/constraints.txt"}


def test_builders_see_only_what_they_copy():
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copies = re.findall(
        r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$",
        "\n".join(path.read_text() for path in DOCKERFILES),
        re.MULTILINE,
    )
    copied = {*" ".join(copies).split(), "docker"}

    # Everything is left out first; then what images are made from is let in.
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert {name for name in let_in if not {name, name.partition("/")[0]} & copied} == set()
    assert not let_in & {"conf", "data", "deploy", ".git", ".env", "conf/.secrets.toml"}

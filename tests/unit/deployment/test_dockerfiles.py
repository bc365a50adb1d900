"""Rules that every Dockerfile keeps, like hadolint's; each is shown to find breaches."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

CHECKOUT: Final = Path(__file__).parents[3]
DOCKERFILES: Final = sorted((CHECKOUT / "docker").glob("*Dockerfile"))


class Instruction(NamedTuple):
    """One instruction, its continued lines joined."""

    name: str
    value: str


Dockerfile = list[Instruction]
Rule = Callable[[Dockerfile], Iterator[str]]
"""Gives a sentence for each breach."""


def parse(text: str) -> Dockerfile:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(name.upper(), value) for name, value in parts]


def last_stage(file: Dockerfile) -> Dockerfile:
    """What the image itself is made by."""
    starts = [at for at, instruction in enumerate(file) if instruction.name == "FROM"]
    return file[starts[-1] :]


def base_is_a_pinned_argument(file: Dockerfile) -> Iterator[str]:
    defaults = dict(i.value.split("=", 1) for i in file if i.name == "ARG" and "=" in i.value)
    for instruction in file:
        if instruction.name != "FROM":
            continue
        found = re.match(r"\$\{(\w+)\}", instruction.value)
        default = defaults.get(found[1], "") if found else ""
        # A version of three numbers, with or without what it is made of.
        if not re.search(r":\d+\.\d+\.\d+(-[\w.]+)*(@sha256:[0-9a-f]{64})?$", default):
            yield f"FROM {instruction.value}: no argument with a pinned default"


def root_is_not_the_last_user(file: Dockerfile) -> Iterator[str]:
    users = [i.value for i in last_stage(file) if i.name == "USER"]
    # A number, since only that can be known not to be root without the image's list of users.
    if not users or not re.match(r"[1-9]\d*(:\d+)?$", users[-1]):
        yield f"the last user is {users[-1] if users else 'that of the base'}"


def packages_leave_nothing_behind(file: Dockerfile) -> Iterator[str]:
    for _, value in (i for i in file if i.name == "RUN"):
        for install in re.findall(r"apt-get\s[^&|;]*\binstall\b[^&|;]*", value):
            if "--no-install-recommends" not in install:
                yield f"{install}: with what it recommends"
            if "--yes" not in install and " -y" not in install:
                yield f"{install}: asks"
        if "apt-get" in value and not (
            re.search(r"apt-get\s+update", value) and "rm -rf /var/lib/apt/lists/*" in value
        ):
            yield f"RUN {value}: lists of packages are older, or stay"
        if re.search(r"\bapt\s+install|\bapt-get\b.*\bupgrade\b|\bsudo\b", value):
            yield f"RUN {value}: apt, upgrade or sudo"


def libraries_come_before_code(file: Dockerfile) -> Iterator[str]:
    """Nothing but lists of libraries is copied before these are installed."""
    for at, (_, value) in enumerate(file):
        if file[at].name == "RUN" and "pip install" in value and "--no-deps" not in value:
            copied = {
                source
                for instruction in file[:at]
                if instruction.name in ("COPY", "ADD")
                for source in instruction.value.split()[:-1]
            }
            if more := copied - {"pyproject.toml", "conf/constraints.txt"}:
                yield f"{', '.join(sorted(more))}: copied before libraries are installed"
            if "--constraint" not in value:
                yield f"RUN {value}: versions are not pinned"


def only_what_is_needed_is_copied(file: Dockerfile) -> Iterator[str]:
    for name, value in file:
        if name == "ADD":
            yield f"ADD {value}: COPY does no more than is asked"
        if name == "COPY" and "." in value.split()[:-1]:
            yield f"COPY {value}: everything"


def nothing_looks_secret(file: Dockerfile) -> Iterator[str]:
    for name, value in file:
        if name in ("ARG", "ENV", "LABEL") and re.search(
            r"pass(word|wd)?\b|secret|token|api_?key|credential|_key\b", value, re.IGNORECASE
        ):
            yield f"{name} {value}: a secret would stay in the image"


def commands_are_lists(file: Dockerfile) -> Iterator[str]:
    """A shell between Docker and the program would swallow signals."""
    for name, value in file:
        if name == "HEALTHCHECK" and value != "NONE":
            name, value = "HEALTHCHECK CMD", value.partition("CMD")[2].strip()
        if name in ("CMD", "ENTRYPOINT", "HEALTHCHECK CMD"):
            try:
                listed = json.loads(value)
            except ValueError:
                listed = None
            if not isinstance(listed, list):
                yield f"{name} {value}: goes through a shell"


def stage_says_what_it_is(file: Dockerfile) -> Iterator[str]:
    names = {instruction.name for instruction in last_stage(file)}
    for name in {"LABEL", "HEALTHCHECK", "STOPSIGNAL", "EXPOSE", "ENTRYPOINT"} - names:
        yield f"{name} is missing"
    for name, value in file:
        if name == "WORKDIR" and not value.startswith("/"):
            yield f"WORKDIR {value}: counts from wherever the base stands"


BREACHES: Final[dict[Rule, list[str]]] = {
    base_is_a_pinned_argument: [
        "FROM python:3.11.14-slim",
        "ARG BASE\nFROM ${BASE}",
        "ARG BASE=python\nFROM ${BASE}",
        "ARG BASE=python:latest\nFROM ${BASE}",
        "ARG BASE=python:3.11-slim\nFROM ${BASE}",
        "ARG BASE=python:3.11.14\nFROM ${BASE} AS builder\nFROM debian",
    ],
    root_is_not_the_last_user: [
        "FROM x",
        "FROM x\nUSER root",
        "FROM x\nUSER 0:0",
        "FROM x\nUSER someone",
        "FROM x\nUSER 10001:0\nUSER root",
        "FROM x AS builder\nUSER 10001:0\nFROM x",
    ],
    packages_leave_nothing_behind: [
        "RUN apt-get update && apt-get install --yes gcc && rm -rf /var/lib/apt/lists/*",
        "RUN apt-get update && apt-get install --yes --no-install-recommends gcc",
        "RUN apt-get install -y --no-install-recommends gcc && rm -rf /var/lib/apt/lists/*",
        "RUN apt-get update \\\n && apt-get install --no-install-recommends gcc \\\n"
        " && rm -rf /var/lib/apt/lists/*",
        "RUN apt-get update && apt-get upgrade --yes && rm -rf /var/lib/apt/lists/*",
        "RUN apt install gcc",
    ],
    libraries_come_before_code: [
        "COPY pipelines pipelines\nRUN pip install --constraint c.txt --requirement r.txt",
        "COPY pyproject.toml pipelines ./\nRUN pip install --constraint c.txt --requirement r.txt",
        "COPY . .\nRUN pip install --constraint c.txt .",
        "RUN pip install mlflow",
    ],
    only_what_is_needed_is_copied: ["COPY . .", "COPY . /srv", "ADD pipelines pipelines"],
    nothing_looks_secret: [
        "ARG PASSWORD",
        "ENV OLENS_MLFLOW__REGISTRY_PASSWORD=x",
        "ENV A=1 \\\n    ADMIN_SECRET=x",
        "ARG INDEX_TOKEN",
        "ENV AWS_ACCESS_KEY=x",
    ],
    commands_are_lists: [
        "CMD olens serve",
        "ENTRYPOINT olens serve",
        'CMD "olens"',
        "HEALTHCHECK --interval=5s CMD curl localhost",
    ],
    stage_says_what_it_is: [
        "FROM x AS builder\nLABEL a=b\nHEALTHCHECK NONE\nSTOPSIGNAL SIGTERM\nEXPOSE 1\nFROM x",
        "FROM x\nLABEL a=b\nHEALTHCHECK NONE\nSTOPSIGNAL SIGTERM\nENTRYPOINT []\nEXPOSE 1\n"
        "WORKDIR a",
    ],
}
"""Every rule with files that break it."""


@pytest.mark.parametrize("rule", BREACHES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_keep_the_rules(path: Path, rule: Rule):
    assert list(rule(parse(path.read_text()))) == []


@pytest.mark.parametrize(
    ("rule", "text"), [(rule, text) for rule, texts in BREACHES.items() for text in texts]
)
def test_rules_find_breaches(rule: Rule, text: str):
    assert list(rule(parse(text)))


def test_there_is_one_for_each_image():
    assert [path.name for path in DOCKERFILES] == ["app.Dockerfile", "registry.Dockerfile"]


def test_both_stand_on_the_same_base():
    defaults = {parse(path.read_text())[0].value for path in DOCKERFILES}

    assert len(defaults) == 1


def test_builders_see_nothing_but_what_they_copy():
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copied = {
        source
        for path in DOCKERFILES
        for name, value in parse(path.read_text())
        if name == "COPY" and "--from" not in value
        for source in value.split()[:-1]
        if not source.startswith("--")
    }

    # Everything is left out first; then what images are made from is let in.
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert let_in <= {
        source if "/" not in source or source[:4] == "conf" else "docker" for source in copied
    }
    assert not let_in & {"conf", "data", "deploy", ".git", ".env", "conf/.secrets.toml"}

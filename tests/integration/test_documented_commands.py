"""Every command in README and docs is run as it stands there, and Python examples too.

Blocks marked ``sh`` or ``python`` are run, page by page, in a project that quickstart has made of
the sample. Targets of make are looked up, and run elsewhere. Blocks without a mark need what a test
has not: a registry on another machine, an account, a git checkout.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.commands import CHECKOUT, OLENS, clean_environment, invoke
from tests.integration.training_project import make_project
from tests.serving import Service, serve
from tests.support import PATIENCE

pytestmark = pytest.mark.slow

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{p.name}" for p in CHECKOUT.glob("docs/*.md")),
]
SERVICE = "http://127.0.0.1:8000"
SHELL = set("|&;<>$`")
"""What only a shell understands; other commands run in this process, which is faster."""
LABELLED = [
    ("The {} works and looks lovely, I would buy it again", 5),
    ("Great {}, quick delivery, thank you", 4),
    ("The {} is all right", 3),
    ("Poor {}, it broke within a day", 2),
    ("A terrible {}, do not waste your money", 1),
]
THINGS = ["kettle", "lamp", "chair", "radio", "jacket", "knife", "tent", "mug"]


def blocks(page: str, language: str) -> list[str]:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as quickstart leaves it, with a labelled file of one's own."""
    root = make_project(tmp_path_factory.mktemp("documented"), {"ngram_max": 2, "bits": 18}).root
    # Real data to the commands, so that `preprocess` and `data verify` find files.
    (root / "data" / "raw").symlink_to(CHECKOUT / "data" / "sample")
    rows = [f'"{text.format(thing)}",{stars}' for thing in THINGS for text, stars in LABELLED]
    (root / "reviews.csv").write_text("\n".join(["body,stars", *rows]) + "\n")
    run([*OLENS, "quickstart", "--no-serve"], root)
    return root


def run(command: list[str], root: Path) -> None:
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=root,
        env=clean_environment(PATH=scripts),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def service(project: Path) -> Iterator[Service]:
    with serve(project) as running:
        yield running


@pytest.mark.parametrize("page", PAGES)
def test_commands_do_what_the_page_says(page: str, project: Path, service: Service) -> None:
    commands = [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
    assert commands or blocks(page, "python") or page in WITHOUT_COMMANDS
    for command in commands:
        program, *arguments = shlex.split(command, comments=True)
        if program == "make":
            run(["make", arguments[0], "--dry-run"], CHECKOUT)
        elif program == "olens" and arguments[0] == "serve":
            with serve(project, *arguments[1:]):
                pass
        elif program == "olens" and not SHELL & set(command):
            done = invoke(*arguments, folder=project, environment=clean_environment())
            assert done.code == 0, f"{command}\n{done.out}\n{done.err}"
        elif not command.startswith((". .venv", "pip install")):
            run(["bash", "-euc", command.replace(SERVICE, service.url)], project)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_examples_run(page: str, project: Path) -> None:
    for block in blocks(page, "python"):
        run([sys.executable, "-c", block], project)


WITHOUT_COMMANDS = {"docs/architecture.md", "docs/glossary.md", "docs/scaling.md"}


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, "SECURITY.md", "CHANGELOG.md", "deploy/README.md", "deploy/RUNBOOK.md"]:
        text = (CHECKOUT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
            assert ((CHECKOUT / page).parent / target).exists(), f"{page}: {target}"


def test_the_workflow_keeps_to_its_schema() -> None:
    workflow = CHECKOUT / ".github" / "workflows" / "ci.yml"
    command = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    run(command, CHECKOUT)

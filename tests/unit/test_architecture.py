"""The house plan: lazy imports, and the names that the documentation gives.

Which imports are allowed, `make lint` checks.
"""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from opinionlens_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
HEAVY = {
    "dvc",
    "kagglehub",
    "litestar",
    "matplotlib",
    "mlflow",
    "numba",
    "numpy",
    "optuna",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
    "skops",
    "sklearn",
    "uvicorn",
}
LIST_MODULES = """\
import sys
sys.argv = ["olens", *sys.argv[1:]]
from opinionlens_cli.main import run
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def modules_after(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tune", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not modules_after(*arguments) & HEAVY


def test_showing_settings_imports_nothing_heavy() -> None:
    assert not modules_after("config", "show") & HEAVY


def test_package_files_are_empty() -> None:
    """What a package imports, everything in it imports."""
    for package in ("opinionlens_cli", "opinionlens_server", "pipelines"):
        for file in (ROOT / package).rglob("__init__.py"):
            lines = file.read_text().splitlines()
            assert not [line for line in lines if line.startswith(("import ", "from "))], file


def test_names_and_files_in_documentation_exist() -> None:
    code = [
        file
        for package in ("opinionlens_cli", "opinionlens_server", "pipelines")
        for file in (ROOT / package).rglob("*.py")
    ]
    pages = [*code, ROOT / "opinionlens.py", ROOT / "README.md", *DOCS.glob("*.md")]
    text = "\n".join(page.read_text() for page in pages if page.is_file())
    names = set(re.findall(r"[^`]`((?:pipelines|opinionlens)(?:\.\w+)+)`[^`]", text))
    assert len(names) > 10
    for name in names:
        pkgutil.resolve_name(name)

    rooms = (ROOT, ROOT / "pipelines", ROOT / "opinionlens_server")
    for path in set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text)):
        assert any((room / path).is_file() for room in rooms), path


def test_every_command_has_an_example_and_leads_to_its_documentation() -> None:
    found = dict(leaf_commands(typer.main.get_command(app), "olens"))  # type: ignore[arg-type]
    assert len(found) >= 15
    for name, command in found.items():
        # The name of the command, perhaps behind settings.
        words = r" ".join(map(re.escape, name.split()[1:]))
        assert re.search(rf"Example: (OLENS_\S+ )?olens {words}\b", command.help or ""), name
        pages = re.fullmatch(
            r"Docs: https://\S+/blob/main/docs/([a-z-]+)\.md", command.epilog or ""
        )
        assert pages, name
        assert not DOCS.is_dir() or (DOCS / f"{pages[1]}.md").is_file(), name


def leaf_commands(group: object, name: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    for key, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from leaf_commands(command, f"{name} {key}")
        else:
            yield f"{name} {key}", command

"""The house plan holds: who may import whom, and what is imported when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from opinionlens_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
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
    "spacy",
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


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


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


def test_every_command_explains_itself_with_an_example() -> None:
    import typer

    group = typer.main.get_command(app)
    commands = dict(leaf_commands(group, "olens"))  # type: ignore[arg-type]
    assert len(commands) >= 15
    silent = [name for name, text in commands.items() if "Example: olens" not in text]
    assert not [name for name in silent if "Example: OLENS_" not in commands[name]]


def leaf_commands(group: object, name: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            found += leaf_commands(command, f"{name} {key}")
        else:
            found.append((f"{name} {key}", command.help or ""))
    return found

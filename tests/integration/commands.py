"""The command line as its users meet it: run in this process, or in one of its own."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from opinionlens_cli import main

CHECKOUT = Path(__file__).parents[2]
OLENS = (sys.executable, "-m", "opinionlens_cli.main")
"""The command, for a process of its own."""


class Result(NamedTuple):
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """Standard error in one line: it is folded to the terminal's width."""
        return " ".join(self.err.split())


Olens = Callable[..., Result]


@pytest.fixture
def olens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Olens:
    """Run the command in this process, from its entry point on."""

    def run(*arguments: str, stdin: str | bytes = "") -> Result:
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "argv", ["olens", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        # `--root` sets a variable for the rest of the process.
        with patch.dict(os.environ), pytest.raises(SystemExit) as end:
            main.run()
        captured = capsys.readouterr()
        code = end.value.code or 0
        assert isinstance(code, int)
        return Result(code, captured.out, captured.err)

    return run


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OLENS_")}
    path = os.pathsep.join([str(CHECKOUT), kept.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**kept, "PYTHONPATH": path, **changes}

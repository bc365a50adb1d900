"""The command line as its users meet it: run in this process, or in one of its own."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
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
def olens() -> Olens:
    """Run the command in this process, from its entry point on."""
    return invoke


def invoke(
    *arguments: str,
    stdin: str | bytes = "",
    folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Result:
    """Run the command in this process, in a `folder` and an `environment` if they are given."""
    given = stdin if isinstance(stdin, bytes) else stdin.encode()
    streams = (_stream(), _stream(), _stream(given))
    with (
        chdir(folder or "."),
        patch.multiple(sys, argv=["olens", *arguments], stdin=streams[2]),
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
        # `--root` sets a variable for the rest of the process.
        patch.dict(os.environ, dict(environment), clear=True),
        pytest.raises(SystemExit) as end,
    ):
        main.run()
    out, err = (stream.buffer.getvalue().decode() for stream in streams[:2])
    code = end.value.code or 0
    assert isinstance(code, int)
    return Result(code, out, err)


def _stream(content: bytes = b"") -> io.TextIOWrapper[io.BytesIO]:
    return io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="", write_through=True)


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OLENS_")}
    path = os.pathsep.join([str(CHECKOUT), kept.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**kept, "PYTHONPATH": path, **changes}

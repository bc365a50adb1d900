"""Showing what a long command is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opinionlens_cli.console import err


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Yields what is told each stage: a spinner, or a line where there is no terminal."""
    if not err.is_terminal:
        yield lambda stage: err.print(f"{stage} ...", style="dim")
        return
    with err.status("starting") as status:
        yield lambda stage: status.update(stage)

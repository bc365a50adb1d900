"""An explanation as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opinionlens_cli.passages import in_one_line, passages
from pipelines.errors import StorageError

if TYPE_CHECKING:
    from jinja2 import Template

    from pipelines.inference.explanation import Explanation

_MAX_CHARACTERS: Final = 200_000
"""Of the text; browsers grow slow beyond."""
_MAX_SENTENCES: Final = 500


def write_page(path: Path, text: str, explanation: Explanation, model: str) -> None:
    """Write the explanation of `text` by `model` to `path`, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    page = _template().render(
        explanation=explanation,
        model=model,
        passages=passages(text, explanation.words, _MAX_CHARACTERS),
        hidden=max(0, len(text) - _MAX_CHARACTERS),
        sentences=explanation.sentences[:_MAX_SENTENCES],
        hidden_sentences=max(0, len(explanation.sentences) - _MAX_SENTENCES),
    )
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        _remove(temporary)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("opinionlens_cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["in_one_line"] = in_one_line
    environment.filters["signed"] = lambda number: f"{number:+.3f}"
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    return environment.get_template("explanation.html")


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # where nothing can be written, nothing was left

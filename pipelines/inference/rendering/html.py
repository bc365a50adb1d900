"""An explanation as HTML that needs nothing else: a page, or the output of a notebook's cell."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.files import write_file
from pipelines.inference.evidence import describe_evidence
from pipelines.inference.rendering.passages import passages
from pipelines.labels import shown_name
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    from jinja2 import Environment

    from pipelines.inference.rendering.explained import ExplainedText

_MAX_CHARACTERS: Final = 200_000
"""Of the text on a page; browsers are slow beyond."""
_MAX_SENTENCES: Final = 500
_FRAGMENT_CHARACTERS: Final = 20_000
_FRAGMENT_SENTENCES: Final = 50


def render_page(explained: ExplainedText) -> str:
    """A whole HTML document."""
    return _render("page.html", explained, _MAX_CHARACTERS, _MAX_SENTENCES)


def render_fragment(explained: ExplainedText) -> str:
    """A ``div`` with its own style, for a notebook."""
    return _render("fragment.html", explained, _FRAGMENT_CHARACTERS, _FRAGMENT_SENTENCES)


def write_page(path: Path, explained: ExplainedText) -> None:
    """Write the page to `path`, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    write_file(path, render_page(explained).encode())


def _render(template: str, explained: ExplainedText, characters: int, sentences: int) -> str:
    return (
        _environment()
        .get_template(template)
        .render(
            explanation=explained,
            doubt=describe_evidence(explained.evidence, explained.known),
            passages=passages(explained.text, explained.words, characters),
            hidden=max(0, len(explained.text) - characters),
            sentences=explained.sentences[:sentences],
            hidden_sentences=max(0, len(explained.sentences) - sentences),
        )
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["in_one_line"] = in_one_line
    environment.filters["class_name"] = shown_name
    environment.filters["zip"] = zip
    environment.filters["signed"] = lambda number: f"{number:+.3f}"
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    return environment

"""An explanation together with its text: it shows itself in a notebook and in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import msgspec

from pipelines.inference.explanation import Explanation

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


class ExplainedText(Explanation, frozen=True, kw_only=True):
    """An `Explanation` that knows its text and the model that answered.

    In a notebook it is a coloured table of HTML, in a terminal coloured text.

    Attributes
    ----------
    text : str
        What was explained; the offsets of words and sentences count its characters.
    model : str
        ID of the model.
    """

    text: str
    model: str

    @classmethod
    def of(cls, explanation: Explanation, text: str, model: str) -> Self:
        """The explanation of `text` by the model with the ID `model`."""
        return cls(**msgspec.structs.asdict(explanation), text=text, model=model)

    def _repr_html_(self) -> str:
        from pipelines.inference.rendering.html import render_fragment

        return render_fragment(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from pipelines.inference.rendering.terminal import render

        yield from render(self, coloured=not console.no_color and console.color_system is not None)

    def __repr__(self) -> str:
        from rich.console import Console

        # Asked here: a notebook's kernel calls for colours, and has the HTML.
        console = Console(force_jupyter=False, force_terminal=sys.stdout.isatty())
        with console.capture() as shown:
            console.print(self)
        return shown.get().rstrip("\n")

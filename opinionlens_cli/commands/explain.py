"""`olens explain`: a verdict, and the words and sentences that it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opinionlens_cli.console import JsonOption, note, out, print_json
from opinionlens_cli.options import ModelOption, open_model
from opinionlens_cli.texts import read_text


def explain_cli(
    text: Annotated[
        str | None,
        typer.Argument(help="The text. Standard input is read if it is - or missing."),
    ] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write a page for the browser.", dir_okay=False, metavar="FILE"),
    ] = None,
) -> None:
    """Explain a verdict: what the words and sentences of a text contribute to it.

    Words that speak for POSITIVE are shaded green; those for NEGATIVE are red and underlined. The
    darker the shade, the stronger the word. Without colours they are marked [+word] and [-word],
    with up to three signs.

    Example: olens explain "The room was small, but we loved the view" --html why.html
    """
    text = read_text(text)

    from pipelines.inference.rendering.explained import ExplainedText

    opened = open_model(model)
    explained = ExplainedText.of(opened.scorer.explain(text), text, opened.id)
    if html is not None:
        from pipelines.inference.rendering.html import write_page

        write_page(html, explained)
    if as_json:
        import msgspec

        fields = msgspec.structs.asdict(explained)
        del fields["text"]
        print_json({"model": fields.pop("model"), **fields})
    else:
        out.print(explained)
        note(f"model: {opened.title}")
    if html is not None:
        note(f"Written: {html}")

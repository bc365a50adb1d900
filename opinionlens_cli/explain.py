"""`olens explain`: a verdict, and the words and sentences that it comes from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from opinionlens_cli.console import JsonOption, err, out, print_json, print_table
from opinionlens_cli.passages import in_one_line, passages
from opinionlens_cli.predict import ModelOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from pipelines.inference.explanation import Explanation, Phrase, Term

_MAX_CHARACTERS: Final = 20_000
"""Of the text, on the terminal."""
_MAX_SENTENCES: Final = 50

# Dark letters on a shade, so that it reads alike on light and dark terminals; and what speaks for
# NEGATIVE is underlined, so that the sign does not hang on the colour.
_STYLES: Final = {
    1: "#101010 on #d9f0e3",
    2: "#101010 on #93d6b3",
    3: "bold #101010 on #45b37f",
    -1: "underline #101010 on #fbe3da",
    -2: "underline #101010 on #f5b29b",
    -3: "bold underline #101010 on #ea8060",
}


def explain_cli(
    text: Annotated[
        str | None,
        typer.Argument(help="The text; standard input is read if it is - or missing."),
    ] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write a page for the browser.", dir_okay=False, metavar="FILE"),
    ] = None,
) -> None:
    """Say why a text is judged as it is: what its words and sentences contribute.

    Words that speak for POSITIVE are shaded green, those for NEGATIVE red and underlined; the
    darker, the stronger. Without colours they are marked [+word] and [-word], up to three times.

    Example: olens explain "The room was small, but we loved the view" --html why.html
    """
    from pipelines.inference.opening import open_model
    from pipelines.settings import load_settings

    if text is None or text == "-":
        text = _stdin()
    opened = open_model(load_settings(), model)
    explanation = opened.scorer.explain(text)
    if html is not None:
        from opinionlens_cli.explanation_page import write_page

        write_page(html, text, explanation, opened.id)
    if as_json:
        import msgspec

        print_json({"model": opened.id, **msgspec.structs.asdict(explanation)})
    else:
        _print(text, explanation, opened.title)
    if html is not None:
        err.print(f"Written: {html}", markup=False, highlight=False, soft_wrap=True)


def _stdin() -> str:
    if sys.stdin.isatty():
        raise typer.BadParameter("give a text, or pipe one in", param_hint="TEXT")
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _print(text: str, explanation: Explanation, model: str) -> None:
    colour = "green" if explanation.prediction == "POSITIVE" else "red"
    out.print(
        f"[{colour}]{explanation.prediction}[/] {explanation.confidence:.1%}", highlight=False
    )
    out.print()
    out.print(_shaded(text, explanation), soft_wrap=True)
    if len(text) > _MAX_CHARACTERS:
        out.print(f"… and {len(text) - _MAX_CHARACTERS:,} more characters", style="dim")
    out.print()
    _print_terms(f"Words for {explanation.prediction}", explanation.top_for)
    _print_terms("Words against", explanation.top_against)
    _print_terms("Strongest phrases", explanation.phrases)
    _print_sentences(explanation)
    for note in [_method(explanation), *explanation.notes]:
        out.print(note, style="dim", markup=False, highlight=False)
    err.print(f"model: {model}", style="dim", highlight=False, markup=False)


def _shaded(text: str, explanation: Explanation) -> Text:
    """The text in shades, or with marks where there are no colours."""
    from rich.text import Text

    plain = out.no_color or out.color_system is None
    shaded = Text()
    for passage in passages(text, explanation.words, _MAX_CHARACTERS):
        if plain and passage.strength:
            mark = ("+" if passage.strength > 0 else "-") * abs(passage.strength)
            shaded.append(f"[{mark}{passage.text}]")
        else:
            shaded.append(passage.text, _STYLES.get(passage.strength))
    return shaded


def _print_terms(title: str, terms: Sequence[Term | Phrase]) -> None:
    rows = [(f"{term.contribution:+.3f}", in_one_line(term.text, 40)) for term in terms]
    if rows:
        out.print(title, style="bold", highlight=False)
        print_table(["part", "text"], rows)


def _print_sentences(explanation: Explanation) -> None:
    rows = [
        (
            f"{sentence.prediction} {sentence.confidence:.1%}",
            f"{sentence.contribution:+.3f}",
            in_one_line(sentence.text),
        )
        for sentence in explanation.sentences[:_MAX_SENTENCES]
    ]
    if rows:
        out.print("Sentences", style="bold")
        print_table(["by itself", "part", "sentence"], rows)
    if more := len(explanation.sentences) - len(rows):
        out.print(f"… and {more:,} more sentences\n", style="dim")


def _method(explanation: Explanation) -> str:
    """What the numbers mean."""
    if explanation.margin is None or explanation.bias is None:
        return "Parts are approximate: the fall of the probability of POSITIVE without the word."
    threshold = ""
    if explanation.threshold is not None:
        threshold = f" (POSITIVE above {explanation.threshold:+.3f})"
    return (
        f"Parts are exact: with the bias {explanation.bias:+.3f}, those of all words add up to "
        f"the margin {explanation.margin:+.3f}{threshold}."
    )

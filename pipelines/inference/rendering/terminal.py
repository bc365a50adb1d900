"""An explanation on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from pipelines.inference.evidence import describe_evidence
from pipelines.inference.rendering.passages import passages
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipelines.inference.explanation import Phrase, Term
    from pipelines.inference.rendering.explained import ExplainedText

_MAX_CHARACTERS: Final = 20_000
"""Of the text."""
_MAX_SENTENCES: Final = 50

# Dark letters on a shade are legible on light and dark terminals. What speaks for NEGATIVE is
# underlined, so that the sign does not depend on the colour.
_STYLES: Final = {
    0: "",
    1: "#101010 on #d9f0e3",
    2: "#101010 on #93d6b3",
    3: "bold #101010 on #45b37f",
    -1: "underline #101010 on #fbe3da",
    -2: "underline #101010 on #f5b29b",
    -3: "bold underline #101010 on #ea8060",
}


def render(explained: ExplainedText, coloured: bool) -> Iterator[RenderableType]:
    """The verdict, the shaded text, and tables of words, phrases and sentences.

    Without colours, words are marked ``[+word]`` and ``[-word]``, with up to three signs.
    """
    colour = "green" if explained.prediction == explained.poles[1] else "red"
    doubt = describe_evidence(explained.evidence, explained.known)
    verdict = f" {explained.confidence:.1%}  {doubt}".rstrip()
    yield Text.assemble((explained.prediction, colour), f"{verdict}\n")
    yield from _classes(explained)
    yield _shaded(explained, coloured)
    yield Text()
    yield from _terms(f"Words for {explained.prediction}", explained.top_for)
    yield from _terms("Words against", explained.top_against)
    yield from _terms("Strongest phrases", explained.phrases)
    yield from _sentences(explained)
    yield from (Text(note, style="dim") for note in [_meaning(explained), *explained.notes])


def _classes(explained: ExplainedText) -> Iterator[RenderableType]:
    """How likely each class is, where there are others than negative and positive."""
    if each := explained.per_class:
        rows = [
            (f"{probability:.1%}", in_one_line(name, 40))
            for name, probability in zip(each.classes, each.probabilities, strict=True)
        ]
        yield _table(("probability", "class"), rows)
        yield Text()


def _shaded(explained: ExplainedText, coloured: bool) -> Text:
    shaded = Text(overflow="fold")
    for passage in passages(explained.text, explained.words, _MAX_CHARACTERS):
        if coloured or not passage.strength:
            shaded.append(passage.text, _STYLES[passage.strength])
        else:
            sign = ("+" if passage.strength > 0 else "-") * abs(passage.strength)
            shaded.append(f"[{sign}{passage.text}]")
    if hidden := len(explained.text) - _MAX_CHARACTERS:
        shaded.append(f"\n… and {hidden:,} more characters" if hidden > 0 else "", "dim")
    return shaded


def _terms(title: str, terms: Sequence[Term | Phrase]) -> Iterator[RenderableType]:
    if terms:
        yield Text(title, style="bold")
        rows = [(f"{term.contribution:+.3f}", in_one_line(term.text, 40)) for term in terms]
        yield _table(("part", "text"), rows)
        yield Text()


def _sentences(explained: ExplainedText) -> Iterator[RenderableType]:
    if not explained.sentences:
        return
    yield Text("Sentences", style="bold")
    rows = [
        (
            f"{sentence.prediction} {sentence.confidence:.1%}",
            f"{sentence.contribution:+.3f}",
            in_one_line(sentence.text),
        )
        for sentence in explained.sentences[:_MAX_SENTENCES]
    ]
    yield _table(("by itself", "part", "sentence"), rows)
    yield Text()
    if (hidden := len(explained.sentences) - _MAX_SENTENCES) > 0:
        yield Text(f"… and {hidden:,} more sentences\n", style="dim")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose last column takes the line breaks."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column != columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _meaning(explained: ExplainedText) -> str:
    """What the numbers mean."""
    low, high = explained.poles
    between = f"What decides between {low} and {high}: " if explained.per_class else ""
    if explained.margin is None or explained.bias is None:
        return (
            f"{between}Parts are approximate: the fall of the probability of {high} without the "
            "word."
        )
    threshold = ""
    if explained.threshold is not None:
        threshold = f" ({high} from {explained.threshold:+.3f})"
    return (
        f"{between}Parts are exact: with the bias {explained.bias:+.3f}, those of all words add up "
        f"to the margin {explained.margin:+.3f}{threshold}."
    )

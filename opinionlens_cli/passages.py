"""The explained text as passages of one shade, for the terminal and for the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pipelines.inference.explanation import Word

# A text must not command the terminal or break the page that shows it.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_END: Final = re.compile("\r\n?")


class Passage(NamedTuple):
    """A word, or what stands between two.

    Attributes
    ----------
    text : str
        Fit to be shown: control characters are U+FFFD.
    strength : int
        As in `Word`; 0 between words.
    contribution : float
        0 between words.
    """

    text: str
    strength: int
    contribution: float


def passages(text: str, words: Sequence[Word], limit: int) -> Iterator[Passage]:
    """Cut `text` into its words and what stands between them, up to `limit` characters."""
    at = 0
    for word in words:
        if word.end > limit:
            break
        if word.start > at:
            yield Passage(showable(text[at : word.start]), 0, 0.0)
        yield Passage(showable(text[word.start : word.end]), word.strength, word.contribution)
        at = word.end
    if rest := text[at:limit]:
        yield Passage(showable(rest), 0, 0.0)


def showable(text: str) -> str:
    """`text` with plain line ends and without control characters."""
    return _CONTROL.sub("\ufffd", _LINE_END.sub("\n", text))


def in_one_line(text: str, longest: int = 80) -> str:
    """`text` with its white space folded, cut if it is longer than `longest` characters."""
    folded = " ".join(showable(text[: 4 * longest]).split())
    cut = len(folded) > longest or len(text) > 4 * longest
    return folded[: longest - 1] + "…" if cut else folded

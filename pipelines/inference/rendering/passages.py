"""The explained text, cut into passages of one shade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipelines.text.showing import showable

if TYPE_CHECKING:
    from pipelines.inference.explanation import Word


class Passage(NamedTuple):
    """A shaded word, or what stands between two of them.

    Attributes
    ----------
    text : str
        Safe to show, see `showable`.
    strength : int
        As in `Word`; 0 between shaded words.
    contribution : float
        As in `Word`; 0 between shaded words.
    """

    text: str
    strength: int = 0
    contribution: float = 0.0


def passages(text: str, words: Sequence[Word], limit: int) -> Iterator[Passage]:
    """Cut the first `limit` characters of `text` into shaded words and what is between them."""
    at = 0
    for word in words:
        if word.end > limit:
            break
        if word.strength:
            if word.start > at:
                yield Passage(showable(text[at : word.start]))
            yield Passage(showable(text[word.start : word.end]), word.strength, word.contribution)
            at = word.end
    if rest := text[at:limit]:
        yield Passage(showable(rest))

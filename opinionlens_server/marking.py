"""A text cut into the parts that the page shades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from pipelines.inference.explanation import Word

SHOWN_CHARACTERS: Final = 20_000
"""Of a text; a browser is slow with more shaded words."""


class Part(msgspec.Struct, frozen=True):
    """A piece of the text, and how strongly it speaks for either side: -3 to 3."""

    text: str
    strength: int = 0
    contribution: float = 0.0


def parts(text: str, words: Sequence[Word]) -> list[Part]:
    """Cut the beginning of `text` into shaded words and what is between them.

    Parameters
    ----------
    text : str
        What was explained.
    words : sequence of Word
        All of its words in their order.
    """
    return [part for part in _cut(text, words) if part.text]


def _cut(text: str, words: Sequence[Word]) -> Iterator[Part]:
    at = 0
    for word in words:
        if word.start >= SHOWN_CHARACTERS:
            break
        if word.strength:
            yield Part(text[at : word.start])
            yield Part(word.text, word.strength, word.contribution)
            at = word.end
    if at < len(text):
        yield Part(text[at : max(at, SHOWN_CHARACTERS)])

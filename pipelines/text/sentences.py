"""Sentences: spaCy's rule-based sentencizer, told in offsets of the original text."""

from __future__ import annotations

import re
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from pipelines.text.offsets import LocatedText, normalise_located

if TYPE_CHECKING:
    from spacy.language import Language

MAX_CHARACTERS: Final = 200_000
"""Sentences are found in so many characters, which takes under a second."""

# spaCy's tokeniser takes quadratic time over what has no space in it, and nothing that is longer
# than this is a word. What it must not see is replaced one for one, so that offsets stay.
_ENDLESS: Final = re.compile(r"(\S{60})\S")
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_lock: Final = Lock()


class Sentences(NamedTuple):
    """The sentences of a text.

    Attributes
    ----------
    spans : list of (start, end)
        Sentence i is ``text[start:end]``; they stand in order and do not overlap.
    covered : int
        Sentences were found in ``text[:covered]``.
    """

    spans: list[tuple[int, int]]
    covered: int


def split_sentences(text: str) -> Sentences:
    """Split `text` into sentences.

    HTML tags and entities are seen as the scorer sees them. At most `MAX_CHARACTERS` characters
    (after normalisation) are split; what comes after them is left alone. May be called from
    several threads.
    """
    located = normalise_located(text)
    if not located.text:
        return Sentences([], len(text))
    if len(located.text) > MAX_CHARACTERS:
        return Sentences(_split(located), int(located.ends[MAX_CHARACTERS - 1]))
    return Sentences(_split(located), len(text))


def _split(located: LocatedText) -> list[tuple[int, int]]:
    printable = _UNPRINTABLE.sub(" ", located.text[:MAX_CHARACTERS])
    spans = _find(_ENDLESS.sub(r"\1 ", printable))
    return [(int(located.starts[start]), int(located.ends[end - 1])) for start, end in spans]


def _find(text: str) -> list[tuple[int, int]]:
    # The vocabulary grows with every new word; what a zone has added is freed at its end. spaCy
    # allows one zone at a time.
    with _lock:
        nlp = _sentencizer()
        with nlp.memory_zone():
            spans = [(sent.start_char, sent.end_char) for sent in nlp(text).sents]
    return [(start, end) for start, end in spans if text[start:end].strip()]


@cache
def _sentencizer() -> Language:
    """A blank English pipeline; held by `_lock`, it is made once."""
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp

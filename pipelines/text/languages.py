"""What differs between languages: the words that negate, what ends their reach, and sentence ends.

Tokens are the same in all languages. A model is for one language, and the same rules are used when
it is trained, when it answers and when it explains its answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

from pipelines.config.params import Language
from pipelines.errors import DataError


class Rules(NamedTuple):
    """The rules of one language."""

    name: str
    """For people."""
    negators: str
    """Words that begin what is negated, separated by spaces."""
    ends: str
    """Words that end it, as every sentence mark does: ``not only`` takes nothing back."""
    ordinals: bool = False
    """Whether a full stop after a number of one or two digits makes it an ordinal (``3. Mai``)."""


LANGUAGES: Final[dict[Language, Rules]] = {
    "en": Rules(
        "English",
        # "n't" is a token "not"; many leave out the apostrophe.
        "not never no without cannot nothing nobody none nor neither hardly barely "
        "dont cant wont didnt doesnt isnt wasnt arent couldnt wouldnt havent shouldnt",
        "but only just",
    ),
    "de": Rules(
        "German",
        "nicht nie niemals kein keine keinen keinem keiner keines keins ohne nichts nix niemand "
        "niemandem niemanden weder nirgends nirgendwo kaum nich net keinesfalls keineswegs",
        "aber sondern nur bloß jedoch",
        ordinals=True,
    ),
    "es": Rules(
        "Spanish",
        "no nunca jamás jamas sin nada nadie ninguno ninguna ningún ningun ni tampoco apenas",
        "pero sino solo sólo solamente aunque",
    ),
    "fr": Rules(
        "French",
        "ne pas jamais rien aucun aucune sans ni guère guere nullement "
        "n'est n'ai n'a n'as n'ont n'avons n'avez n'était n'étais n'étaient n'avait n'y n'en",
        "mais seulement sauf",
    ),
    "it": Rules(
        "Italian",
        "non mai senza niente nulla nessuno nessuna nessun né neanche nemmeno neppure mica",
        "ma solo soltanto solamente però",
    ),
    "nl": Rules(
        "Dutch",
        "niet nooit geen zonder niets niks niemand nergens noch nauwelijks amper",
        "maar alleen slechts enkel",
    ),
    "pt": Rules(
        "Portuguese",
        "não nao nunca jamais sem nada ninguém ninguem nenhum nenhuma nem tampouco",
        "mas só apenas somente porém",
    ),
    "other": Rules("another language", "", ""),
}

LANGUAGE_TAG: Final = "language"
"""Tag of runs and models."""

NUMBERS: Final[dict[str, int]] = {code: number for number, code in enumerate(LANGUAGES)}
"""Of each language, as compiled code knows it."""

_LEAST_SHARE: Final = 0.08
"""Of all words that must be function words of a language alone, for it to be found."""
_LEAST_LEAD: Final = 4.0
"""How many times as many as those of the next language."""
_WORD: Final = re.compile(r"[^\W\d_]+")


class FoundLanguage(NamedTuple):
    """The language that texts are in, and what speaks for it."""

    language: Language
    evidence: str
    """A sentence for people."""


def find_language(texts: Iterable[str]) -> FoundLanguage:
    """The language of texts, by the function words that it alone has.

    Raises
    ------
    DataError
        If none of `LANGUAGES` is clearly ahead of the others.
    """
    words = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    total = max(words.total(), 1)
    shares = {
        code: sum(words[word] for word in own) / total for code, own in _function_words().items()
    }
    best, second = sorted(shares, key=lambda code: -shares[code])[:2]
    found = ", ".join(f"{LANGUAGES[code].name} {shares[code]:.1%}" for code in (best, second))
    if shares[best] < _LEAST_SHARE or shares[best] < _LEAST_LEAD * shares[second]:
        raise DataError(
            f"language: auto finds no language that the texts are clearly in: {found} of the words "
            f"are those of one language alone. Write it down in conf/params.yaml: language: one of "
            f"{', '.join(LANGUAGES)}"
        )
    return FoundLanguage(
        best,
        f"The texts are in {LANGUAGES[best].name} (language: {best}), as their function words say: "
        f"{found} of all words.",
    )


@cache
def _function_words() -> dict[Language, set[str]]:
    """The function words of each language that no other one has; the lists are spaCy's."""
    from spacy.util import get_lang_class

    lists = {
        code: set(get_lang_class(code).Defaults.stop_words) for code in LANGUAGES if code != "other"
    }
    counts = Counter(word for words in lists.values() for word in words)
    return {code: {word for word in words if counts[word] == 1} for code, words in lists.items()}

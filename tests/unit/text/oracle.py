"""The definitions of normalised text, tokens and n-grams once more, slow and on whole strings.

Written from the docstrings of `pipelines.datasets.normalise` and `pipelines.text.tokens` with
regular expressions; it shares no code with the kernels.
"""

from __future__ import annotations

import html.entities
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterator

Token = tuple[Hashable, ...]

_TAG = r"<(?:/?[A-Za-z]|!)[^<>]*>"
_ENTITY = r"&(?:#(?P<decimal>[0-9]+)|#[xX](?P<hex>[0-9A-Fa-f]+)|(?P<name>[A-Za-z0-9]+));"
_MARKUP = re.compile(f"{_TAG}|{_ENTITY}")
_NAMES = {**html.entities.name2codepoint, "apos": ord("'")}
_LONGEST_ENTITY = len("&thetasym;")
_LAYERS = 4


def normalise(text: str) -> str:
    return normalise_layers(re.sub("[\ud800-\udfff]", "\ufffd", text))


def normalise_layers(text: str) -> str:
    """`normalise` without replacing surrogates, which may stand for bytes that are not UTF-8."""
    text = _fold(text)
    for _ in range(_LAYERS):
        text = _fold(_MARKUP.sub(_replacement, text))
    if any(_replacement(match) != match[0] for match in _MARKUP.finditer(text)):
        text = _fold(re.sub(r"<(?=[A-Za-z/!])|&(?=[A-Za-z#])", " ", text))
    return text


def _fold(text: str) -> str:
    return " ".join(text.replace("\ufeff", " ").split())


def _replacement(markup: re.Match[str]) -> str:
    if markup[0].startswith("<"):
        return " "
    if len(markup[0]) > _LONGEST_ENTITY:
        return markup[0]
    if markup["name"]:
        return chr(_NAMES[markup["name"]]) if markup["name"] in _NAMES else markup[0]
    code = int(markup["decimal"]) if markup["decimal"] else int(markup["hex"], 16)
    if 128 <= code < 160:
        return bytes([code]).decode("cp1252", "replace")
    if code == 0 or 0xD800 <= code < 0xE000 or code > sys.maxunicode:
        return "\ufffd"
    return chr(code)


def _is_word(character: str) -> bool:
    code = ord(character)
    if code >= 0x20000:  # the ideographic planes
        return code < 0x40000
    mark = unicodedata.category(character).startswith("M") and not 0xFE00 <= code <= 0xFE0F
    return character.isalnum() or mark


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) == "So" and character not in "\ufffd" and character > "~"


def _class(belongs: Callable[[str], bool]) -> str:
    """A character class of all characters that belong."""
    codes = [code for code in range(0x40000) if belongs(chr(code))]
    starts = [code for code, before in zip(codes, [-1, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -1], strict=True) if code + 1 != after]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))


_W = f"[{_class(_is_word)}]"
_NEGATION = rf"[nN]['’][tT](?!{_W})"
_STEM = rf"{_W}(?:(?!{_NEGATION}){_W})*"
_TOKEN = re.compile(
    "|".join(
        [
            r"(?P<address>(?:[hH][tT][tT][pP][sS]?://|[wW]{3}\.(?=[^\x00-\x20]))[^ ]*)",
            rf"(?P<negation>{_NEGATION})",
            rf"(?P<word>{_STEM}(?:['’]{_W}+)*)",
            rf"(?P<symbol>[{_class(_is_symbol)}])",
            r"(?P<heart><3(?![A-Za-z0-9_]))",
            r"(?P<eyes>[:;=])'?[-^o]?"
            r"(?P<mouth>[)\]}(\[{|*]|[DPpOSX](?![A-Za-z0-9_])|[/\\](?!/))",
            r"(?P<mark>[!?.,;:])(?P=mark)*",
            r"(?P<handle>@[A-Za-z0-9_]+)",
        ]
    )
)
_MOUTHS = str.maketrans({**dict.fromkeys(")]}", ")"), **dict.fromkeys("([{", "("), "\\": "/"})


def tokens(normalised: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(normalised):
        if match["address"] or match["handle"] or match["heart"]:
            yield (match.lastgroup,)
        elif match["negation"]:
            yield "characters", "not"
        elif match["word"]:
            yield "characters", _spelling(match["word"])
        elif match["mouth"]:
            yield "emoticon", match["eyes"] == ";", match["mouth"].translate(_MOUTHS).lower()
        else:
            yield "characters", match["symbol"] or match["mark"]


def _spelling(word: str) -> str:
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in word.replace("’", "'"))
    return re.sub(r"(.)\1{2,}", r"\1\1", lowered)


_NEGATORS = [
    ("characters", word)
    for line in (
        "not never no without cannot nothing nobody none nor neither hardly barely",
        "dont cant wont didnt doesnt isnt wasnt arent couldnt wouldnt havent shouldnt",
    )
    for word in line.split()
]
_ENDS_OF_NEGATION = [("characters", word) for word in (*".,;:!?", "but", "only", "just")]


def ngrams(text: str, longest: int) -> Counter[tuple[Token, ...]]:
    """The n-grams and negated words of a raw text in the order of their first occurrence, counted.

    A negated word begins with the token ``("negated",)``.
    """
    found = list(tokens(normalise(text)))
    counts: Counter[tuple[Token, ...]] = Counter()
    negated = False
    for start, token in enumerate(found):
        for end in range(start + 1, min(len(found), start + longest) + 1):
            counts[tuple(found[start:end])] += 1
        if token in _ENDS_OF_NEGATION:
            negated = False
        if negated:
            counts[("negated",), token] += 1
        if token in _NEGATORS:
            negated = True
    return counts


def spellings(text: str, longest: int) -> Counter[tuple[str, ...]]:
    """The character n-grams of the words of a raw text, between ``<`` and ``>``, counted."""
    counts: Counter[tuple[str, ...]] = Counter()
    for match in _TOKEN.finditer(normalise(text)):
        if word := match["negation"] or match["word"]:
            lowered = (c.lower() if len(c.lower()) == 1 else c for c in word.replace("’", "'"))
            characters = ["<", *lowered, ">"]
            for start in range(len(characters)):
                for end in range(start + 3, min(len(characters), start + longest) + 1):
                    counts[tuple(characters[start:end])] += 1
    return counts

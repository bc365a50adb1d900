"""The definitions of normalised text, tokens and n-grams once more, slow and on whole strings.

Written from the docstrings of `pipelines.text.normalise` and `pipelines.text.tokens` with
regular expressions; it shares no code with the kernels.
"""

from __future__ import annotations

import html.entities
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import NamedTuple

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
    for _ in range(_LAYERS):
        text = unicodedata.normalize("NFC", _fold(_MARKUP.sub(_replacement, text)))
    if any(_replacement(match) != match[0] for match in _MARKUP.finditer(text)):
        text = _fold(re.sub(r"<(?=[A-Za-z/!])|&(?=[A-Za-z#])", " ", text))
    return text


def _fold(text: str) -> str:
    return " ".join(re.sub("[\u00ad\u180e\u200b\u2060\ufeff]", "", text).split())


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


_APOSTROPHES = "'`´\x91\x92ʹʻʼʽʾʿˈˊˋ˴՚׳᾽᾿῾‘’‚‛′‵‹›❛❜Ꞌꞌ＇｀"
_GARBLED = (
    r"\\*\\(?:u0027|u2018|u2019|x27|x92|xe2\\x80\\x98|xe2\\x80\\x99)"
    "|â€˜|â€™|â€›|â€²|Â´|Ê¼|â\x80\x98|â\x80\x99|â\x80\x9b|â\x80²"
    "|‚Äò|‚Äô|‚Äõ|‚Ä≤|¬¥|\x89Ûª|‰Ûª|¡¦|ï¿½"
)
_MARKS = {
    **dict.fromkeys("｡。．﹒…।॥۔", "."),
    **dict.fromkeys("､、，﹐﹑،፣", ","),
    **dict.fromkeys("！﹗‼", "!"),
    **dict.fromkeys("？﹖⁇⁈⁉؟", "?"),
    **dict.fromkeys("：﹕", ":"),
    **dict.fromkeys("；﹔؛", ";"),
}
_SCRIPTS_WITHOUT_SPACES = re.compile(
    "AHOM|BALINESE|BOPOMOFO|CJK|HALFWIDTH KATAKANA|HANGZHOU|HENTAIGANA|HIRAGANA"
    "|IDEOGRAPHIC (?!TALLY)|JAVANESE|KATAKANA|KHITAN|KHMER|LAO|MASU|MYANMAR|NEW TAI LUE|NUSHU"
    "|OLD CHINESE|TAI |TANGUT|THAI|VERTICAL KANA|VERTICAL IDEOGRAPHIC|YI SYLLABLE"
)


def _kind(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if character in _APOSTROPHES:
        return "apostrophe"
    if character in _MARKS:
        return "mark"
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F or 0x180B <= code <= 0x180F:
        return "ignored"
    if 0x1F3FB <= code <= 0x1F3FF or code == 0x34F or 0xE0000 <= code < 0xE1000:
        return "ignored"
    if category.startswith("M") or character in "ﾞﾟ":
        return "accent"
    if 0x20000 <= code < 0x40000:
        return "character"
    if character.isalnum():
        script = "TANGUT" if 0x17000 <= code < 0x18D10 else unicodedata.name(character, "")
        return "character" if _SCRIPTS_WITHOUT_SPACES.match(script) else "word"
    emoji = category == "Cn" and 0x1F000 <= code < 0x1FB00
    if emoji or (category == "So" and character > "~" and character != "\ufffd"):
        return "symbol"
    return "other"


def _class(codes: list[int]) -> str:
    """A character class of these code points, which ascend."""
    starts = [code for code, before in zip(codes, [-1, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -1], strict=True) if code + 1 != after]
    ranges = zip(starts, ends, strict=True)
    return "[" + "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in ranges) + "]"


_BY_KIND: dict[str, list[int]] = {}
for _code in [*range(0x40000), *range(0xE0000, 0xE1000)]:
    _BY_KIND.setdefault(_kind(chr(_code)), []).append(_code)
_W, _M, _I, _C, _S = (
    _class(_BY_KIND[kind]) for kind in ("word", "accent", "ignored", "character", "symbol")
)
_A = _class(sorted(map(ord, _APOSTROPHES)))
_WORD_GOES_ON = f"{_W}|{_M}"
_ENDING = rf"(?:[sStTmMdD]|[rRvV][eE]|[lL][lL])(?!{_WORD_GOES_ON})"
_LOST = rf"(?:[\ufffd\x11\x12\x18\x19]|{_A})"
_APOSTROPHE = re.compile(rf"(?:{_GARBLED})(?={_W})|\\*{_A}(?={_W})|{_LOST}{{1,3}}(?={_ENDING})")
_LAST_CHARACTER = re.compile(f"(?s:(.))(?!{_WORD_GOES_ON})")
_VERBS = "do does did ca wo is was are were could would should have has had ai must need".split()  # noqa: SIM905
_TOKEN = re.compile(
    "|".join(
        [
            r"(?P<address>(?:[hH][tT][tT][pP][sS]?://|[wW]{3}\.(?=[^\x00-\x20]))[^ ]*)",
            rf"(?P<word>{_W})",
            rf"(?P<character>{_C}(?:{_M}|{_I})*)",
            rf"(?P<symbol>{_S}(?:{_M}|\u200d[\u2640\u2642]|{_I})*)",
            r"(?P<heart><3(?![A-Za-z0-9_]))",
            r"(?P<eyes>[:;=])'?[-^o]?"
            r"(?P<mouth>[)\]}(\[{|*]|[DPpOSX](?![A-Za-z0-9_])|[/\\](?!/))",
            rf"(?P<mark>[!?.,;:{''.join(_MARKS)}])(?P=mark)*",
            r"(?P<handle>@[A-Za-z0-9_]+)",
        ]
    )
)
_MOUTHS = str.maketrans({**dict.fromkeys(")]}", ")"), **dict.fromkeys("([{", "("), "\\": "/"})


class Found(NamedTuple):
    """A token, and the characters of which it has n-grams."""

    token: Token
    spelled: str


def find(normalised: str) -> Iterator[Found]:
    at = 0
    while match := _TOKEN.search(normalised, at):
        at = match.end()
        if match["word"]:
            spelled, at = _word(normalised, match.start())
            yield Found(("characters", "not" if spelled == "n't" else _squashed(spelled)), spelled)
        elif match["character"]:
            spelled = "".join(map(_plain, re.sub(_I, "", match["character"])))
            yield Found(("characters", spelled), spelled)
        elif match["address"] or match["handle"] or match["heart"]:
            yield Found((match.lastgroup,), "")
        elif match["mouth"]:
            mouth = match["mouth"].translate(_MOUTHS).lower()
            yield Found(("emoticon", match["eyes"] == ";", mouth), "")
        else:
            sign = match["mark"] or match["symbol"][0]
            yield Found(("characters", _MARKS.get(sign, sign)), "")


def tokens(normalised: str) -> Iterator[Token]:
    return (found.token for found in find(normalised))


def _word(text: str, start: int) -> tuple[str, int]:
    """The characters of the word that begins at `start`, and its end."""
    spelled, places, at = _plain(text[start]), [start], start + 1
    while at < len(text):
        apostrophe = _APOSTROPHE.match(text, at)
        after = apostrophe.end() if apostrophe else at + 1
        negates = spelled.endswith("n") and "'" not in spelled and _is_last_t(text, after)
        if apostrophe and negates:
            return (spelled[:-1], places[-1]) if len(spelled) > 1 else ("n't", after + 1)
        if apostrophe:
            spelled += "'"
        elif re.match(_WORD_GOES_ON, text[at]):
            spelled += _plain(text[at])
        elif re.match(_I, text[at]) or (
            negates and text[at] in ";,?" and _squashed(spelled[:-1]) in _VERBS
        ):
            at += 1
            continue
        else:
            break
        places.append(at)
        at = after
    return spelled, at


def _is_last_t(text: str, at: int) -> bool:
    found = _LAST_CHARACTER.match(text, at)
    return found is not None and _plain(found[1]) == "t"


def _plain(character: str) -> str:
    compatible = unicodedata.normalize("NFKC", character)
    lowered = (compatible if len(compatible) == 1 else character).lower()
    return lowered if len(lowered) == 1 else character


def _squashed(word: str) -> str:
    return re.sub(r"(.)\1{2,}", r"\1\1", word)


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
    for _, spelled in find(normalise(text)):
        characters = ["<", *spelled, ">"] if spelled else []
        for start in range(len(characters)):
            for end in range(start + 3, min(len(characters), start + longest) + 1):
                counts[tuple(characters[start:end])] += 1
    return counts

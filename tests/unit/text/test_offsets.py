"""Offsets lead back to what the user typed."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given

from pipelines.text.normalise import normalise
from pipelines.text.offsets import locate_tokens, normalise_located
from tests.unit.text.strategies import texts, valid_texts


def typed(text: str) -> list[str]:
    """The tokens of `text` as they were typed."""
    _, starts, ends, _ = locate_tokens(text)
    return [text[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Not good!!", ["Not", "good", "!!"]),
        ("a\r\nb\r\n\r\nc", ["a", "b", "c"]),
        ("😀 ok 😀", ["😀", "ok", "😀"]),
        ("cafe\u0301 cafe", ["cafe\u0301", "cafe"]),
        ("so<br />so<BR>", ["so", "so"]),
        ("caf&eacute; &amp; bar&#33;", ["caf&eacute;", "bar", "&#33;"]),
        ("&amp;lt;3 &lt;b&gt;x&lt;/b&gt;", ["&amp;lt;3", "x"]),
        ("👍🏽 ❤️ 👩\u200d👧", ["👍🏽", "❤️", "👩\u200d", "👧"]),
        ("don&#x27;t don’t", ["do", "n&#x27;t", "do", "n’t"]),
        (":-) http://x.y/z?a=b @me", [":-)", "http://x.y/z?a=b", "@me"]),
        ("\ud800a\udfff b\x00c", ["a", "b", "c"]),
        ("", []),
        ("\x00 \u200b <b>", []),
        ("e\u0302\u0323 so\u00adlo\ufeff x", ["e\u0302\u0323", "so\u00adlo", "x"]),
        ("don\\'t donâ€™t", ["do", "n\\'t", "do", "nâ€™t"]),
        ("很好。吃ร่อ", ["很", "好", "。", "吃", "ร่", "อ"]),
    ],
)
def test_examples(text: str, words: list[str]) -> None:
    assert typed(text) == words


@given(texts())
def test_tokens_stand_in_order_and_are_the_same_by_themselves(text: str) -> None:
    hashes, starts, ends, normalised = locate_tokens(text)
    assert normalised.tobytes().decode("utf-8", "surrogatepass") == normalise_located(text).text
    spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    for value, (start, end) in zip(hashes.tolist(), spans, strict=True):
        assert locate_tokens(text[start:end]).hashes.tolist() == [value]


@given(valid_texts())
def test_located_text_is_the_normalised_text(text: str) -> None:
    located = normalise_located(text)
    assert located.text == normalise(text)
    assert located.starts.size == located.ends.size == len(located.text)


@given(texts())
def test_characters_stand_for_what_was_typed(text: str) -> None:
    located = normalise_located(text)
    for i, character in enumerate(located.text):
        source = text[located.starts[i] : located.ends[i]]
        space = source.isspace() or source in ("\ufeff", "&", "<")
        same = unicodedata.normalize("NFC", source) == character
        assert same or len(source) > 1 or (character == " " and space)
    assert all(a <= b for a, b in zip(located.ends[:-1], located.starts[1:], strict=True))

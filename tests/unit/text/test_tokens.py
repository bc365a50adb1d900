"""Tokens and n-grams: the kernels against the oracle."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.buffers import text_buffer
from pipelines.text.characters import character_tables
from pipelines.text.ngrams import count_ngrams, room_for, tokenise
from pipelines.text.normalise import normalise
from pipelines.text.offsets import locate_tokens
from tests.unit.text import oracle
from tests.unit.text.strategies import texts


def hashes(text: str) -> list[int]:
    data, offsets = text_buffer([text])
    room, found = room_for(offsets, 0, 1)
    n, _ = tokenise(data, 0, int(offsets[-1]), room, found, *character_tables())
    return [int(value) for value in found[:n]]


def counted(
    texts: list[str], ngram_max: int = 3, bits: int = 31, char_max: int = 0
) -> list[dict[int, float]]:
    """Counts by bucket of each text."""
    buckets, counts, offsets = count_ngrams(text_buffer(texts), ngram_max, bits, char_max)
    return [
        dict(zip(buckets[a:b].tolist(), counts[a:b].tolist(), strict=True))
        for a, b in itertools.pairwise(offsets)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's IT’S it''s it`s itâ€™s it\\u2019s", ["it's"] * 6),
        ("don`t DON´T don＇t don\x92t don\\'t donâ€™t don\ufffdt don''t", ["do", "not"] * 8),
        ("a''b don`` rock`n`roll a\ufffdb", ["a", "b", "don", "rock'n'roll", "a", "b"]),
        ("don;t won?t in;t", ["dont", "wont", "in", ";", "t"]),
        ("ＧＯＯＤ １０ 𝐠𝐨𝐨𝐝 ！！ 。 …", ["good", "10", "good", "!", ".", "."]),
        ("so\u00adlo so\u200dlo a\ufe0fb", ["solo", "solo", "ab"]),
        ("很好吃。 おいしい", [*"很好吃.おいしい"]),
        ("อร่อย iPhone好", [*"อ", "ร่", *"อย", "iphone", "好"]),
        ("wasn't WASN’T was n't not", ["was", "not"] * 3 + ["not"]),
        ("don'ts rock'n't don't've", ["don'ts", "rock'n't", "do", "not", "ve"]),
        ("soooo sooo soo so", ["soo", "soo", "soo", "so"]),
        ("ÉTÉ İS ẞ", ["été", "İs", "ß"]),
        ("wow!!! ?!, ... ;", ["wow", "!", "?", "!", ",", ".", ";"]),
        ("👍🏽 ❤️ 🤷🏽\u200d♀️ 1️⃣", ["👍", "❤", "🤷", "1⃣"]),
        ("a_b-c", ["a", "b", "c"]),
        ("e\u0301te\u0301", ["été"]),
        ("", []),
        ("\x00 \ud800 # $", []),
    ],
)
def test_examples_of_words_and_marks(text: str, expected: list[str]) -> None:
    assert hashes(text) == [hash_ for word in expected for hash_ in hashes(word)]
    assert len(hashes(text)) == len(expected)


@pytest.mark.parametrize(
    "alike",
    [
        [":)", ":-)", ":]", ":o)", ":'-}", "=)"],
        [":(", ":-(", "=["],
        [";)", ";-]"],
        [":D", "=D"],
        [":P", ":-p"],
        [":/", ":\\", "=/"],
        ["<3"],
        ["http://a", "https://b.c/d?e=:)", "HTTP://", "www.x", "WWW.é", "http://x.y/don't!!!"],
        ["@me", "@you_2"],
    ],
)
def test_examples_of_equal_tokens(alike: list[str]) -> None:
    found = {tuple(hashes(text)) for text in alike}
    assert len(found) == 1
    assert len(found.pop()) == 1


def test_kinds_of_tokens_differ() -> None:
    kinds = [":)", ":(", ";)", ":D", ":P", ":/", ":|", "<3", "http://a", "@me", ":", "😀", "a"]
    assert len({hashes(text)[0] for text in kinds}) == len(kinds)


@given(st.lists(texts(), min_size=1, max_size=4))
def test_tokens_equal_the_oracle(several: list[str]) -> None:
    """Token by token: equal where the oracle says equal, and only there."""
    hash_of: dict[oracle.Token, int] = {}
    for text in several:
        expected = list(oracle.tokens(oracle.normalise(text)))
        found = hashes(text)
        assert len(found) == len(expected)
        for token, value in zip(expected, found, strict=True):
            assert hash_of.setdefault(token, value) == value
    assert len(set(hash_of.values())) == len(hash_of)


@given(texts())
def test_tokens_are_the_same_with_and_without_their_places(text: str) -> None:
    assert locate_tokens(text).hashes.tolist() == hashes(text)


@given(
    st.lists(texts(8), min_size=1, max_size=3), st.integers(1, 5), st.sampled_from((0, 3, 4, 5, 8))
)
def test_ngrams_equal_the_oracle(several: list[str], ngram_max: int, char_max: int) -> None:
    bucket_of: dict[object, int] = {}
    for text, found in zip(several, counted(several, ngram_max, char_max=char_max), strict=True):
        expected = oracle.ngrams(text, ngram_max) + oracle.spellings(text, char_max)
        assert list(found.values()) == list(expected.values())
        for ngram, bucket in zip(expected, found, strict=True):
            assert bucket_of.setdefault(ngram, bucket) == bucket
    assert len(set(bucket_of.values())) == len(bucket_of)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No", {"<no": 1, "no>": 1}),
        ("papaya", {"<pa": 1, "pap": 1, "apa": 1, "pay": 1, "aya": 1, "ya>": 1}),
        ("isn’t", {"<is": 1, "is>": 1, "<n'": 1, "n't": 1, "'t>": 1}),
        ("a", {"<a>": 1}),
        ("!!! :-) 😀 @you www.example.org", {}),
    ],
)
def test_examples_of_character_ngrams(text: str, expected: dict[str, int]) -> None:
    assert {"".join(ngram): n for ngram, n in oracle.spellings(text, 3).items()} == expected
    (found,) = counted([text], char_max=3)
    (words,) = counted([text])
    assert len(found) == len(words) + len(expected)


def test_negated_words_count_once_more() -> None:
    plain, negated, ended = counted(["good film", "not good film", "not, good film"], ngram_max=1)
    more = negated.keys() - ended.keys()
    assert len(more) == 2
    assert not more & plain.keys()
    (other,) = counted(["never a good film"], ngram_max=1)
    assert more < other.keys()


@given(texts(), st.integers(1, 30))
def test_fewer_buckets_are_the_same_ones_folded(text: str, bits: int) -> None:
    folded: Counter[int] = Counter()
    for bucket, count in counted([text])[0].items():
        folded[bucket >> (31 - bits)] += int(count)
    assert counted([text], bits=bits)[0] == folded


@given(texts())
def test_raw_and_normalised_texts_have_the_same_ngrams(text: str) -> None:
    raw, normalised = counted([text, normalise(text)], char_max=5)
    assert list(raw.items()) == list(normalised.items())


@given(st.lists(texts(), max_size=6))
def test_a_text_has_the_same_ngrams_alone_and_among_others(several: list[str]) -> None:
    assert counted(several) == [counted([text])[0] for text in several]
    alone = [counted([text], char_max=6)[0] for text in several]
    assert counted(several, char_max=6) == alone


def test_threads_and_tasks_do_not_change_the_result() -> None:
    words = "good bad so-so it's <br> 😀 :-) !! &amp; www.x naïve".split()  # noqa: SIM905
    several = [" ".join(words[i % 11 :] + words[: i % 7]) + f" {i}" * (i % 3) for i in range(1300)]
    one = count_ngrams(text_buffer(several), 3, 22, 5, threads=1)
    four = count_ngrams(text_buffer(several), 3, 22, 5, threads=4)
    for a, b in zip(one, four, strict=True):
        np.testing.assert_array_equal(a, b)
    assert counted(several) == [ngrams for text in several for ngrams in counted([text])]


@pytest.mark.parametrize("character", ["a", "a ", "!", "! ", "😀", "<", "@", "'", "\x00", ":", "é"])
def test_a_megabyte_of_one_thing(character: str) -> None:
    text = character * (1_000_000 // len(character.encode()))
    (found,) = counted([text], ngram_max=2)
    tokens = sum(found.values())
    per_character = {"a ": 2, "! ": 2, "😀": 2}.get(character, 0)
    assert tokens == (
        per_character * len(text) // len(character) - 1
        if per_character
        else {"a": 1, "!": 1, "é": 1, ":": 1}.get(character, 0)
    )

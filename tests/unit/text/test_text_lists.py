"""JSON lists of texts that are decoded piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.text import text_lists
from pipelines.text.text_lists import decode_texts

MANY = 10**6


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(text_lists, "PIECE", 8)
        yield


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.text('",\\[]{} ')),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_the_texts_are_those_of_any_other_decoder(
    texts: list[str], ascii_only: bool, indent: int | None
) -> None:
    encoded = json.dumps(texts, ensure_ascii=ascii_only, indent=indent).encode()
    assert decode_texts(encoded, MANY) == texts


@pytest.mark.parametrize(
    "wrong",
    [
        '["aaaaaaaa", "bbbbbbbb",]',
        '[         , "a"]',
        '["aaaaaaaa",, "b"]',
        '["aaaaaaaa", "b"',
        '["aaaaaaaa", "b"] , ["c"]',
        '["aaaaaaaa", "b"]]',
        '["aaaaaaaa}, "b"]',
        '{"aaaaaaaa": "b", "c": "d"}',
        '"aaaaaaaa", "b"',
        "",
        "[" * 100_000,
    ],
)
def test_what_is_no_json_list_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"no JSON list|not valid JSON|expected `str`"):
        decode_texts(wrong.encode(), MANY)


@pytest.mark.parametrize("item", ["1", "null", "[]", '{"a": "b", "c": "d"}', "true"])
def test_an_item_that_is_no_text_is_named_by_its_index(item: str) -> None:
    texts = ", ".join([*['"aaaaaaaa"'] * 7, item, '"b"'])
    with pytest.raises(InputError, match=r"Item 7 of the body \(counted from 0\): expected `str`"):
        decode_texts(f"[{texts}]".encode(), MANY)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(InputError, match="not valid JSON"):
        decode_texts(b'["aaaaaaaa", "\xff"]', MANY)


def test_what_is_far_too_much_is_not_decoded() -> None:
    texts = decode_texts(json.dumps(["aaaaaaaa"] * 1_000).encode(), 10)
    assert 10 < len(texts) < 20

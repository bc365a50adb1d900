"""Sentences in offsets of the original text."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings

from pipelines.text import sentences
from pipelines.text.sentences import split_sentences
from tests.unit.text.strategies import texts


def typed(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text).spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \r\n ", []),
        ("<br>", []),
        ("One only", ["One only"]),
        (
            "The food was cold. The waiter, too!  Never again",
            ["The food was cold.", "The waiter, too!", "Never again"],
        ),
        ("Dr. Smith came at 3 p.m. on time. Good.", ["Dr. Smith came at 3 p.m. on time.", "Good."]),
        ("Fine.<br /><br />Really?!\r\n\r\nYes.", ["Fine.", "Really?!", "Yes."]),
        ("Caf&eacute; &amp; bar. cafe\u0301.", ["Caf&eacute; &amp; bar.", "cafe\u0301."]),
        ("I loved it! 😀😀 Did you? 👍🏽", ["I loved it!", "😀😀 Did you?", "👍🏽"]),
        ("One\x00two. Three\ud800four.", ["One\x00two.", "Three\ud800four."]),
        ("...", ["..."]),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    assert typed(text) == expected
    assert split_sentences(text).covered == len(text)


@settings(max_examples=50)
@given(texts(30))
def test_sentences_stand_in_order_and_leave_out_only_what_separates(text: str) -> None:
    spans = split_sentences(text).spans
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("mark", ["(((((....", "!", "a.", "http://", "'"])
def test_endless_runs_are_split_all_the_same(mark: str) -> None:
    """They take spaCy's tokeniser alone from minutes to hours."""
    text = (mark * 20_000)[:20_000]
    spans = split_sentences(text).spans
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)


def test_of_a_very_long_text_the_beginning_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "MAX_CHARACTERS", 19)
    text = "&lt;3 one. Two is long. Three. Four."
    spans, covered = split_sentences(text)
    assert text[:covered] == "&lt;3 one. Two is long"
    assert [text[start:end] for start, end in spans] == ["&lt;3 one.", "Two is long"]


def test_threads_get_the_same_sentences() -> None:
    many = [f"Text {i} is here. It has word{i}! And {i}?" for i in range(100)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(typed, many)) == [typed(text) for text in many]

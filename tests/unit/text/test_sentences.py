"""Sentences in offsets of the original text."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings

from pipelines.text.sentences import split_sentences
from tests.unit.text.strategies import texts


def typed(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


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
        ("Great.The end", ["Great.", "The end"]),
        (
            "It cost 3.50 on amazon.com. J. R. Smith, U.S. Army, said so",
            ["It cost 3.50 on amazon.com.", "J. R. Smith, U.S. Army, said so"],
        ),
        (
            'Well... he said. (Really!) "No," I said. :) :( !',
            ["Well... he said.", "(Really!)", '"No," I said. :) :( !'],
        ),
        ("很好。不错！真的", ["很好。", "不错！", "真的"]),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    assert typed(text) == expected


@settings(max_examples=50)
@given(texts(30))
def test_sentences_stand_in_order_and_leave_out_only_what_separates(text: str) -> None:
    spans = split_sentences(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("mark", ["(((((....", "!", "a.", "http://", "'", "A.", '"', "😀", "! "])
def test_endless_runs_are_split_in_linear_time(mark: str) -> None:
    """Of two million characters; quadratic time would be hours."""
    text = (mark * 2_000_000)[:2_000_000].rstrip()
    spans = split_sentences(text)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)


def test_threads_get_the_same_sentences() -> None:
    many = [f"Text {i} is here. It has word{i}! And {i}?" for i in range(100)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(typed, many)) == [typed(text) for text in many]

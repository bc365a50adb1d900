"""An explanation is shown alike on a terminal, in a notebook, in a file and on the page."""

from __future__ import annotations

import re

import msgspec
import pytest
from rich.console import Console

from pipelines.inference.explanation import Word
from pipelines.inference.rendering.explained import ExplainedText
from pipelines.inference.rendering.html import render_fragment, render_page
from pipelines.inference.rendering.passages import Passage, passages
from pipelines.text.showing import in_one_line, showable
from tests.fitted import fit_tiny

TEXT = "The <b>food</b> was cold.\r\nBut the waiter was lovely \x1b[31m!"


def explained(text: str = TEXT) -> ExplainedText:
    from pipelines.inference.compiling import fuse

    scorer = fuse(fit_tiny("nbsvm"))
    assert scorer is not None
    return ExplainedText.of(scorer.explain(text), text, "reviews-v1")


class TestPassages:
    def test_they_are_the_text(self) -> None:
        text = "so good,\nnot bad"
        words = [
            Word(0, 2, "so", 0.0, 0),
            Word(3, 7, "good", 0.5, 3),
            Word(13, 16, "bad", -0.2, -1),
        ]

        assert list(passages(text, words, 100)) == [
            Passage("so "),
            Passage("good", 3, 0.5),
            Passage(",\nnot "),
            Passage("bad", -1, -0.2),
        ]

    @pytest.mark.parametrize("strength", [0, 2])
    def test_a_long_text_is_cut(self, strength: int) -> None:
        text = "word " * 1_000
        words = [Word(at, at + 4, "word", 0.1, strength) for at in range(0, len(text), 5)]

        shown = "".join(passage.text for passage in passages(text, words, 777))
        assert shown == text[:777]

    def test_a_text_without_words_is_shown_as_it_is(self) -> None:
        assert list(passages("…", [], 10)) == [Passage("…")]


class TestShowing:
    @pytest.mark.parametrize(
        "unsafe", ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"]
    )
    def test_control_characters_are_replaced(self, unsafe: str) -> None:
        assert showable(f"a{unsafe}b") == "a\ufffdb"

    @pytest.mark.parametrize("text", ["a\tb\nc", "👍🏽👩\u200d👧", "שלום\u200f!", "e\u0301\xad"])
    def test_other_text_stays(self, text: str) -> None:
        assert showable(text) == text

    def test_line_ends_are_line_feeds(self) -> None:
        assert showable("a\r\nb\rc") == "a\nb\nc"

    def test_one_line_is_folded_and_cut(self) -> None:
        assert in_one_line("a\n\t b", 10) == "a b"
        assert in_one_line("word " * 10, 10) == "word word…"
        assert len(in_one_line("x" * 10**6, 60)) == 60


class TestTerminal:
    def test_without_colours_words_are_marked(self) -> None:
        console = Console(width=100, color_system=None)
        with console.capture() as shown:
            console.print(explained())
        assert re.search(r"\[-+cold\].*\n.*\[\++lovely\]", shown.get())
        assert "\x1b" not in shown.get()

    def test_with_colours_words_are_shaded(self) -> None:
        console = Console(width=100, force_terminal=True, color_system="truecolor")
        with console.capture() as shown:
            console.print(explained())
        assert re.search(r"\x1b\[[\d;]+mlovely", shown.get())
        assert "[+" not in shown.get()
        assert "\x1b[31m!" not in shown.get()

    def test_repr_is_what_a_python_prompt_shows(self) -> None:
        assert repr(explained()).startswith(("POSITIVE ", "NEGATIVE "))

    def test_it_fits_a_narrow_terminal(self) -> None:
        console = Console(width=60, color_system=None)
        with console.capture() as shown:
            console.print(explained("A lovely, good film with a rude, cold waiter. " * 5))
        assert max(map(len, shown.get().splitlines())) <= 60


class TestHtml:
    def test_a_notebook_gets_a_fragment_with_its_style(self) -> None:
        html = explained()._repr_html_()
        assert html == render_fragment(explained())
        assert html.strip().startswith('<div class="olens">')
        assert ".olens mark" in html
        assert re.search(r'<mark class="plus-\d" title="\+\d\.\d+">lovely</mark>', html)
        assert "<b>" not in html
        assert "\x1b" not in html
        assert "<!DOCTYPE" not in html

    def test_a_page_is_a_document_with_the_same_text(self) -> None:
        page, fragment = render_page(explained()), render_fragment(explained())
        assert page.lstrip().startswith("<!DOCTYPE html>")
        text = re.compile(r'<p class="text".*?</p>', re.S)
        assert text.findall(page) == text.findall(fragment) != []

    def test_a_long_text_is_cut_and_says_so(self) -> None:
        long = "A lovely film. " * 2_000
        assert "more characters are not shown" in render_fragment(explained(long))
        assert "more sentences are not shown" in render_fragment(explained(long))
        assert "more characters are not shown" not in render_page(explained(long))


def test_it_is_an_explanation_and_its_text() -> None:
    shown = explained()
    assert shown.text == TEXT
    assert all(TEXT[word.start : word.end] == word.text for word in shown.words)
    assert msgspec.to_builtins(shown)["model"] == "reviews-v1"


def test_a_verdict_without_evidence_says_so() -> None:
    unknown, known = explained("12 345"), explained()
    said = "Not enough to go by: the model knows 0% of the words."
    assert said in repr(unknown)
    assert said in render_page(unknown)
    assert said in unknown._repr_html_()
    assert "Not enough" not in repr(known) + render_page(known)

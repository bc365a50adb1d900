"""The page in a real browser."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Download, FilePayload, Page, expect

from tests.e2e.accessibility import violations
from tests.serving import Service, serve

pytestmark = pytest.mark.browser

FILE: FilePayload = {
    "name": "day.csv",
    "mimeType": "text/csv",
    "buffer": b'id,review\n1,superb and good\n2,"stale, late, lost"\n3,\n4,good\n',
}
JUDGED = [
    ["id", "review", "prediction"],
    ["1", "superb and good", "POSITIVE"],
    ["2", "stale, late, lost", "NEGATIVE"],
    ["3", "", ""],
    ["4", "good", "POSITIVE"],
]


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """The page; the test fails on any error in the console and on any request to another host."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(service.url)
    yield page
    context.close()
    # An answer that says what was wrong with the text is no mistake of the page.
    assert [said for said in complaints if "400 (Bad Request)" not in said] == []
    assert hosts == {urlsplit(service.url).netloc}


def test_a_text_gets_its_verdict_in_place(page: Page) -> None:
    page.get_by_label("Your text").fill("Superb")
    page.get_by_role("button", name="Evaluate").click()

    result = page.locator("#result")
    expect(result.get_by_role("heading", level=2)).to_have_text("Positive")
    expect(result).to_contain_text("95.7 % confidence")
    expect(result).to_contain_text("reviews-v1")
    expect(result).to_contain_text("6 characters")
    expect(result).to_have_attribute("aria-live", "polite")
    expect(page.get_by_label("Your text")).to_have_value("Superb")


@pytest.mark.parametrize("shortcut", ["Control+Enter", "Meta+Enter"])
def test_the_keyboard_suffices(page: Page, shortcut: str) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_label("Your text").focus()
    page.keyboard.type("The bread was stale")
    page.keyboard.press(shortcut)

    expect(page.locator("#result").get_by_role("heading", level=2)).to_have_text("Negative")


def test_an_example_is_filled_in_and_judged(page: Page) -> None:
    example = page.locator("[data-example]").nth(2)
    text = example.inner_text()
    example.click()

    expect(page.locator("#result").get_by_role("heading", level=2)).to_have_text("Negative")
    expect(page.get_by_label("Your text")).to_have_value(text)
    expect(page.locator("[data-count]")).to_have_text(f"{len(text)} of 100,000 characters")


def test_characters_are_counted_as_the_server_does(page: Page) -> None:
    page.get_by_label("Your text").fill("good 👍🏽")
    expect(page.locator("[data-count]")).to_have_text("7 of 100,000 characters")

    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result")).to_contain_text("7 characters")


def test_an_empty_text_is_explained_and_the_next_one_judged(page: Page) -> None:
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result")).to_contain_text("The text is empty")

    page.get_by_label("Your text").fill("good")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result").get_by_role("heading", level=2)).to_have_text("Positive")
    expect(page.locator("#result")).not_to_contain_text("empty")


def test_markup_in_a_text_stays_text(page: Page) -> None:
    text = "</textarea><img src=x onerror=alert(1)> good"
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Evaluate").click()

    expect(page.locator("#result").get_by_role("heading", level=2)).to_have_text("Positive")
    assert page.locator("img").count() == 0
    expect(page.get_by_label("Your text")).to_have_value(text)


def test_the_words_and_sentences_behind_a_verdict_are_shown(page: Page) -> None:
    page.get_by_label("Your text").fill("A superb film. The bread was stale, but good.")
    page.get_by_role("button", name="Evaluate").click()

    result = page.locator("#result")
    positive, negative = (
        result.locator(".shaded .word-positive"),
        result.locator(".shaded .word-negative"),
    )
    expect(positive).to_have_text(["superb", "good"])
    expect(negative).to_have_text(["stale"])
    expect(positive.first).to_have_class("word word-positive word-3")
    expect(result.locator(".shaded")).to_have_text("A superb film. The bread was stale, but good.")
    # The side is not in the colour alone, and the strength is in the shade.
    lines = "(e) => getComputedStyle(e).textDecorationStyle"
    assert (positive.first.evaluate(lines), negative.evaluate(lines)) == ("solid", "dashed")
    shade = "(e) => getComputedStyle(e).backgroundColor"
    assert positive.first.evaluate(shade) != positive.last.evaluate(shade)

    expect(result.locator(".terms-positive li").first).to_contain_text("superb")
    expect(result.locator(".terms-negative li").first).to_contain_text("stale")
    sentences = result.locator(".sentences li")
    expect(sentences).to_have_count(2)
    expect(sentences.first).to_contain_text("Positive")


class TestFile:
    def test_a_chosen_file_is_summed_up_at_once(self, page: Page) -> None:
        page.locator("#file").set_input_files(FILE)

        self.check_summary(page)
        with page.expect_download() as started:
            page.get_by_role("button", name="Download all rows").click()
        check_download(started.value)
        expect(page.locator("#file-result")).to_contain_text("day.csv")

    def test_a_dropped_file_is_summed_up_at_once(self, page: Page) -> None:
        dropped = page.evaluate_handle(
            """([name, text]) => {
              const data = new DataTransfer();
              data.items.add(new File([text], name, {type: "text/csv"}));
              return data;
            }""",
            [FILE["name"], FILE["buffer"].decode()],
        )
        page.locator("#file").dispatch_event("dragover", {"dataTransfer": dropped})
        expect(page.locator(".drop-over")).to_have_count(1)
        page.locator("#file").dispatch_event("dragleave", {"dataTransfer": dropped})
        expect(page.locator(".drop-over")).to_have_count(0)
        # What Chromium itself does with a file that is dropped on the field.
        page.locator("#file").evaluate(
            """(field, data) => {
              field.files = data.files;
              field.dispatchEvent(new Event("change", {bubbles: true}));
            }""",
            dropped,
        )

        self.check_summary(page)

    def test_the_column_can_be_named(self, page: Page) -> None:
        page.get_by_label("Column of the texts").fill("nothing")
        page.locator("#file").set_input_files(FILE)
        expect(page.locator("#file-result")).to_contain_text("Its columns are: id, review")

        page.get_by_label("Column of the texts").fill("review")
        page.get_by_role("button", name="Judge the file").click()
        self.check_summary(page)

    def test_without_a_file_the_page_says_what_to_do(self, page: Page) -> None:
        page.get_by_role("button", name="Judge the file").click()

        expect(page.locator("#file-result")).to_contain_text(
            "Choose a CSV, JSONL or TXT file first"
        )

    def test_it_works_without_javascript(self, browser: Browser, service: Service) -> None:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(service.url)
        page.locator("#file").set_input_files(FILE)
        with page.expect_download() as started:
            page.get_by_role("button", name="Download verdicts").click()
        check_download(started.value)

        page.get_by_role("button", name="Judge the file").click()
        self.check_summary(page)
        context.close()

    def check_summary(self, page: Page) -> None:
        result = page.locator("#file-result")
        expect(result.get_by_role("heading", name="day.csv")).to_be_visible()
        expect(result).to_contain_text("4 rows, texts from review")
        expect(result.locator(".counts dd")).to_have_text(["1", "2", "1"])
        expect(result.get_by_role("img")).to_have_count(2)
        expect(result.locator(".bar")).to_have_count(20)
        expect(result.locator(".extremes.verdict-negative li")).to_contain_text("stale, late, lost")


def check_download(download: Download) -> None:
    """Whether the rows came back with their verdicts."""
    assert download.suggested_filename == "day-verdicts.csv"
    with Path(download.path()).open(newline="") as file:
        assert [row[:3] for row in csv.reader(file)] == JUDGED


class TestTheme:
    BACKGROUND = "getComputedStyle(document.body).backgroundColor"

    @pytest.mark.parametrize("scripts", [True, False])
    def test_a_choice_holds_until_it_is_taken_back(
        self, browser: Browser, service: Service, scripts: bool
    ) -> None:
        context = browser.new_context(java_script_enabled=scripts, color_scheme="light")
        page = context.new_page()
        page.goto(service.url)
        light = page.evaluate(self.BACKGROUND)
        page.get_by_role("button", name="Dark", exact=True).click()
        dark = page.get_by_role("button", name="Dark", exact=True)
        expect(dark).to_have_attribute("aria-pressed", "true")
        assert page.evaluate(self.BACKGROUND) != light

        # The server puts it into the page, so that no other colours are seen first.
        page.goto(f"{service.url}/admin")
        assert page.evaluate(self.BACKGROUND) != light
        answer = page.request.get(service.url)
        assert '<html lang="en" data-theme="dark">' in answer.text()

        page.goto(service.url)
        page.get_by_role("button", name="As the system").click()
        expect(dark).to_have_attribute("aria-pressed", "false")
        assert page.evaluate(self.BACKGROUND) == light
        assert context.cookies() == [] or all(c["name"] != "theme" for c in context.cookies())
        context.close()

    def test_it_overrules_a_dark_system(self, browser: Browser, service: Service) -> None:
        context = browser.new_context(color_scheme="dark")
        page = context.new_page()
        page.goto(service.url)
        dark = page.evaluate(self.BACKGROUND)
        page.get_by_role("button", name="Light", exact=True).click()

        assert page.evaluate(self.BACKGROUND) != dark
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 375])
def test_axe_finds_nothing(
    browser: Browser, service: Service, axe: str, scheme: str, width: int
) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(service.url)
    page.get_by_label("Your text").fill("A superb film. The bread was stale, and crushed.")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result").get_by_role("heading", level=2)).to_be_visible()
    page.locator("#file").set_input_files(FILE)
    expect(page.locator("#file-result").get_by_role("heading", level=2)).to_be_visible()

    assert violations(page, axe) == []
    context.close()


def test_a_curl_line_is_copied_whole(page: Page, service: Service) -> None:
    button = page.locator("[data-copy]").first
    button.click()

    expect(button).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == httpx.get(f"{service.url}/api/v1").json()[0]["curl"]


def test_without_javascript_everything_but_copying_works(
    browser: Browser, service: Service
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(service.url)
    expect(page.locator("[data-copy]").first).to_be_hidden()
    expect(page.locator("[data-shortcut]")).to_be_hidden()

    page.get_by_label("Your text").fill("\na superb film\n")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result").get_by_role("heading", level=2)).to_have_text("Positive")
    expect(page.get_by_label("Your text")).to_have_value("\na superb film\n")

    page.locator("[data-example]").nth(1).click()
    expect(page.locator("#result").get_by_role("heading", level=2)).to_have_text("Negative")

    page.get_by_label("Your text").fill("  ")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result")).to_contain_text("The text is empty")
    context.close()


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [
        ("light", "light", 1200),
        ("dark", "dark", 1200),
        ("phone", "light", 375),
        ("phone-dark", "dark", 375),
    ],
)
def test_it_fits_every_screen(
    browser: Browser, service: Service, artifacts: Path, name: str, scheme: str, width: int
) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(service.url)
    page.locator("[data-example]").nth(1).click()
    expect(page.locator("#result").get_by_role("heading", level=2)).to_be_in_viewport()
    page.locator("#file").set_input_files(FILE)
    expect(page.locator("#file-result")).to_contain_text("4 rows")

    page.screenshot(path=artifacts / f"page-{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(int(part) for part in background[4:-1].split(",")) < 3 * 128
    assert dark is (scheme == "dark")
    context.close()


CONTRASTS = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const pair = [luminance(channels(getComputedStyle(element).color)),
                  luminance(background(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) low.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return low;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_read(browser: Browser, service: Service, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(service.url)
    for example in (0, 1):
        page.locator("[data-example]").nth(example).click()
        expect(page.locator("#result").get_by_role("heading", level=2)).to_be_visible()
        assert page.evaluate(CONTRASTS) == []
    context.close()


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    page.get_by_label("Your text").fill("good")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result").get_by_role("heading", level=2)).to_be_visible()

    names = page.locator("button, a, textarea, [tabindex='0'], [role='img']").evaluate_all(
        "all => all.map((e) => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent.trim())"
    )
    assert len(names) > 20
    assert all(names)
    assert page.locator("h1").count() == 1
    assert page.locator("main, header, footer").count() == 3


def test_a_server_that_has_gone_is_said(browser: Browser, tmp_path: Path, artifacts: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    # Without any model, the one that comes with the package answers; this one has gone.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "active.json").write_text('{"id": "reviews-v1"}')
    with serve(tmp_path) as service:
        page.goto(service.url)
        expect(page.get_by_role("heading", name="No model answers yet")).to_be_visible()
        page.screenshot(path=artifacts / "page-no-model.png", full_page=True)
        assert service.stop() == 0

    page.get_by_label("Your text").fill("good")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result")).to_contain_text("The server does not answer")
    context.close()

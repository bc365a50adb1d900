"""The page in a real browser."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Download, FilePayload, Page, expect

from pipelines.cache.model_cache import ModelCache
from pipelines.labels import Classes, shown_name
from tests.classes import SENTIMENTS, TOPICS
from tests.e2e.accessibility import violations
from tests.serving import Service, install_linear, serve
from tests.support import PATIENCE

pytestmark = pytest.mark.browser

SCREENS: list[tuple[str, Literal["light", "dark"], int]] = [
    ("light", "light", 1280),
    ("phone-dark", "dark", 375),
]
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
    # An answer that says what was wrong with the text is no mistake of the page, nor is a request
    # that a newer one replaced.
    fine = ("400 (Bad Request)", "htmx:afterRequest", "htmx:sendAbort")
    assert [said for said in complaints if not any(each in said for each in fine)] == []
    assert hosts == {urlsplit(service.url).netloc}


def test_a_text_gets_its_verdict_in_place(page: Page) -> None:
    page.get_by_label("Your text").fill("Superb")
    page.get_by_role("button", name="Evaluate").click()

    result = page.locator("#result")
    expect(result.get_by_role("heading", level=2)).to_have_text("Positive")
    expect(result).to_contain_text("95.7 % confidence")
    expect(result).to_contain_text("reviews-v1")
    expect(result).to_contain_text("6 characters")
    # A screen reader hears the verdict alone.
    expect(page.get_by_role("status")).to_contain_text("Positive")
    expect(page.get_by_role("status")).not_to_contain_text("reviews-v1")
    expect(page.get_by_label("Your text")).to_have_value("Superb")


def test_there_is_a_verdict_while_one_types(page: Page) -> None:
    result = page.locator("#result")
    text = page.get_by_label("Your text")
    text.press_sequentially("It was stale")
    expect(result.get_by_role("heading", level=2)).to_have_text("Negative")
    expect(page).to_have_url(re.compile("/$"))

    text.fill("   ")
    expect(result).to_have_text("The verdict appears here.")
    text.fill("qwertz")
    expect(result.locator(".scale-ends")).to_have_text("Negative 47.5 %Positive 52.5 %")
    expect(result.get_by_role("heading", level=2)).to_have_text("Not enough to go by")
    expect(result).to_contain_text("Words +0.00, bias +0.10: together +0.10")


def test_the_rate_limit_is_no_news_to_a_typist(browser: Browser, tmp_path: Path) -> None:
    install_linear(tmp_path / "models", 1, 0.1, {"good": 2.0, "stale": -2.0})
    ModelCache(tmp_path / "models").activate("reviews-v1")
    limit = {"OLENS_SERVING__RATE_LIMIT": "0.1", "OLENS_SERVING__RATE_BURST": "1"}
    page = browser.new_page()
    with serve(tmp_path, env=limit) as service:
        page.goto(service.url)
        httpx.post(
            f"{service.url}/api/v1/inference/explain",
            json={"text": "the one request"},
            timeout=PATIENCE,
        )
        with page.expect_response(lambda answer: answer.status == 429):
            page.get_by_label("Your text").fill("stale")
        result = page.locator("#result")
        expect(result).to_have_text("The verdict appears here.")
        # It is asked for again when the server says so.
        expect(result.get_by_role("heading", level=2)).to_have_text("Negative")
    page.close()


def test_a_link_carries_a_text_past_the_server(page: Page) -> None:
    text = "Größer & 100 % superb?\n#1"
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_label("Your text")).to_have_value(text)
    expect(page.locator("#result").get_by_role("heading", level=2)).to_have_text("Positive")
    assert all("superb" not in urlsplit(url)._replace(fragment="").geturl() for url in asked)
    # Another text is no longer what the address says.
    page.get_by_label("Your text").press("End")
    page.keyboard.type("!")
    expect(page).to_have_url(re.compile("/$"))


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

    # This model knows two words of it.
    expect(page.locator("#result")).to_contain_text("It leans to negative")
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


def test_the_words_and_sentences_of_a_verdict_are_shown(page: Page) -> None:
    page.get_by_label("Your text").fill("A superb film. The bread was stale, but good.")
    page.get_by_role("button", name="Evaluate").click()

    result = page.locator("#result")
    positive, negative = (
        result.locator(".shaded .word-positive"),
        result.locator(".shaded .word-negative"),
    )
    expect(positive).to_have_text(["superb", "good"])
    expect(negative).to_have_text(["stale"])
    expect(positive.first).to_have_class("word word-positive word-2")
    expect(result.locator(".shaded")).to_have_text("A superb film. The bread was stale, but good.")
    # The side is not in the colour alone. Both words are of the same step of the fixed scale.
    lines = "(e) => getComputedStyle(e).textDecorationStyle"
    assert (positive.first.evaluate(lines), negative.evaluate(lines)) == ("solid", "dashed")
    shade = "(e) => getComputedStyle(e).backgroundColor"
    assert positive.first.evaluate(shade) == positive.last.evaluate(shade)

    expect(result.locator(".terms-positive li").first).to_contain_text("superb")
    expect(result.locator(".terms-negative li").first).to_contain_text("stale")
    sentences = result.locator(".sentences li")
    expect(sentences).to_have_count(2)
    expect(sentences.first).to_contain_text("Positive")


class TestFile:
    @pytest.fixture
    def page(self, page: Page, service: Service) -> Page:
        page.goto(f"{service.url}/file")
        return page

    def test_a_file_is_previewed_judged_and_browsed(self, page: Page) -> None:
        page.locator("#file").set_input_files(FILE)
        preview = page.get_by_role("region", name="The first rows")
        expect(preview.locator("th.chosen")).to_have_text("review")
        page.get_by_label("Column of the texts").select_option("id")
        expect(preview.locator("th.chosen")).to_have_text("id")
        page.get_by_label("Column of the texts").select_option("review")
        expect(preview.locator("th.chosen")).to_have_text("review")
        page.get_by_role("button", name="Show the verdicts").click()

        self.check_result(page)
        texts = page.locator("#file-rows .text")
        expect(texts).to_have_text(["stale, late, lost", "good", "superb and good", ""])
        page.get_by_label("Order").select_option("positive")
        expect(texts.first).to_have_text("superb and good")
        page.get_by_label("With the words").press_sequentially("GOOD")
        expect(texts).to_have_text(["superb and good", "good"])
        expect(page.get_by_label("With the words")).to_be_focused()
        page.get_by_label("Column that breaks the file down").select_option("id")
        expect(page.locator("#file-groups tbody tr")).to_have_count(3)
        expect(texts).to_have_count(2)

        with page.expect_download() as started:
            page.get_by_role("button", name="Download all rows").click()
        check_download(started.value)

    def test_labels_in_the_file_are_compared(self, page: Page) -> None:
        rows = [b"superb,5", b"good,1", b"stale,1", b"late,1"] * 30
        page.locator("#file").set_input_files(
            {"name": "a.csv", "mimeType": "text/csv", "buffer": b"text,stars\n" + b"\n".join(rows)}
        )
        expect(page.get_by_label("Labels to compare with")).to_have_value("stars")
        page.get_by_role("button", name="Show the verdicts").click()
        expect(page.locator("#file-result")).to_contain_text("75.0 % of 120 labelled rows agree")
        expect(page.locator(".confusion td")).to_have_text(["60", "30", "0", "30"])
        page.get_by_label("Show", exact=True).select_option("wrong")
        expect(page.locator("#file-rows .text")).to_have_text(["good"] * 30)
        page.get_by_label("Show", exact=True).select_option("")
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_text("Page 2 of 3")).to_be_visible()

    def test_a_file_is_dropped(self, page: Page) -> None:
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
        expect(page.get_by_role("region", name="The first rows")).to_contain_text("superb and good")

    def test_it_works_without_javascript(self, browser: Browser, service: Service) -> None:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{service.url}/file")
        page.locator("#file").set_input_files(FILE)
        page.get_by_label("Column of the texts").fill("review")
        with page.expect_download() as started:
            page.get_by_role("button", name="Download", exact=True).click()
        check_download(started.value)

        page.get_by_role("button", name="Show the verdicts").click()
        self.check_result(page)
        context.close()

    def check_result(self, page: Page) -> None:
        result = page.locator("#file-result")
        expect(result.get_by_role("heading", name="day.csv")).to_be_visible()
        expect(result).to_contain_text("4 rows, texts from review")
        expect(result.locator(".counts dd")).to_have_text(["1", "2", "1"])
        expect(result.locator(".bar")).to_have_count(20)
        expect(result.locator(".terms-positive li").first).to_contain_text("good × 2")
        expect(result.locator(".verdict-negative .sentence-verdict").first).to_contain_text(
            "Negative"
        )


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


def test_a_curl_line_is_copied_whole(page: Page, service: Service) -> None:
    button = page.locator("[data-copy]").first
    button.click()

    expect(button).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines()[0] == f"curl {service.url}/api/v1/inference/predict \\"


def test_the_reference_tries_a_route(
    page: Page, service: Service, artifacts: Path, axe: str
) -> None:
    page.get_by_role("link", name="All routes").click()
    predict = page.locator(".opblock-post", has_text="/api/v1/inference/predict").first
    predict.click()
    predict.locator("textarea").fill('{"text": "superb"}')
    predict.get_by_role("button", name="Execute").click()
    expect(
        predict.locator(".live-responses-table .response .status, .live-responses-table")
    ).to_contain_text("POSITIVE")
    page.screenshot(path=artifacts / "reference.png")
    assert violations(page, axe) == []

    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 375, "height": 800})
    page.reload()
    page.locator(".opblock-post").first.click()
    expect(page.locator(".opblock-body textarea")).to_be_visible()
    assert violations(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 375


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
    expect(page.locator("#result")).to_contain_text("It leans to negative")

    page.get_by_label("Your text").fill("  ")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result")).to_contain_text("The text is empty")
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


@pytest.mark.parametrize(("name", "scheme", "width"), SCREENS)
def test_it_fits_every_screen_and_reader(
    browser: Browser,
    service: Service,
    artifacts: Path,
    axe: str,
    name: str,
    scheme: Literal["light", "dark"],
    width: int,
) -> None:
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
        reduced_motion="reduce",
    )
    page = context.new_page()

    def check(kind: str) -> None:
        page.screenshot(path=artifacts / f"{kind}-{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert violations(page, axe) == []
        # At least 4.5 to 1 (WCAG 2.2, 1.4.3).
        assert page.evaluate(CONTRASTS) == []

    page.goto(service.url)
    check("page-empty")
    page.get_by_label("Your text").fill("A superb film. The bread was stale, and crushed.")
    # Text and verdict are seen together.
    expect(page.locator("#result").get_by_role("heading", level=2)).to_be_in_viewport()
    expect(page.get_by_label("Your text")).to_be_in_viewport()
    check("page")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in background[4:-1].split(",")) < 3 * 128) is (scheme == "dark")

    page.goto(f"{service.url}/file")
    page.locator("#file").set_input_files(FILE)
    expect(page.get_by_role("region", name="The first rows")).to_be_visible()
    check("file-preview")
    page.get_by_role("button", name="Show the verdicts").click()
    expect(page.locator("#file-result")).to_contain_text("4 rows")
    page.get_by_label("Column that breaks the file down").select_option("id")
    expect(page.locator("#file-groups tbody tr")).to_have_count(3)
    check("file")
    context.close()


def test_any_number_of_classes_fits_every_screen(
    browser: Browser, tmp_path: Path, artifacts: Path, axe: str
) -> None:
    each = [SENTIMENTS, Classes(("1", "2", "3", "4", "5")), TOPICS, Classes(("ham", "spam"))]
    words = {f"word{number}": 2.0 for number in range(20)}
    cache = ModelCache(tmp_path / "models")
    for version, classes in enumerate(each, start=1):
        known = dict.fromkeys(list(words)[: len(classes.names)], 2.0)
        install_linear(cache.folder, version, 0.1, known, classes)
    cache.activate("reviews-v1")
    with serve(tmp_path) as service:
        for version, classes in enumerate(each, start=1):
            cache.activate(f"reviews-v{version}")
            for name, scheme, width in SCREENS:
                page = browser.new_page(
                    color_scheme=scheme, viewport={"width": width, "height": 800}
                )
                wait_for_model(service, f"reviews-v{version}")
                page.goto(service.url)
                page.get_by_label("Your text").fill("Some word1 here. And word1 with word0.")
                heading = page.locator("#result").get_by_role("heading", level=2)
                expect(heading).to_have_text(shown_name(classes.names[1]))
                page.screenshot(
                    path=artifacts / f"classes-{len(classes.names)}-{name}.png", full_page=True
                )
                assert page.evaluate("document.documentElement.scrollWidth") == width
                assert violations(page, axe) == []
                assert page.evaluate(CONTRASTS) == []
                page.close()


def wait_for_model(service: Service, model: str) -> None:
    deadline = time.monotonic() + PATIENCE
    url = f"{service.url}/api/v1/inference/predict"
    while httpx.post(url, json={"text": "word1"}).json()["model"] != model:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    page.get_by_label("Your text").fill("good")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result").get_by_role("heading", level=2)).to_be_visible()

    names = page.locator("button, a, textarea, [tabindex='0'], [role='img']").evaluate_all(
        "all => all.map((e) => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent.trim())"
    )
    assert len(names) > 15
    assert all(names)
    assert page.locator("h1").count() == 1
    assert page.locator("main, header, footer").count() == 3


def test_a_stopped_server_is_a_message(browser: Browser, tmp_path: Path, artifacts: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    # Without any model, the one that comes with the package answers; this one has gone.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "active.json").write_text('{"id": "reviews-v1"}')
    with serve(tmp_path) as service:
        page.goto(service.url)
        expect(page.get_by_role("heading", name="No model is loaded yet")).to_be_visible()
        page.screenshot(path=artifacts / "page-no-model.png", full_page=True)
        assert service.stop() == 0

    page.get_by_label("Your text").fill("good")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result")).to_contain_text("The server does not answer")
    context.close()

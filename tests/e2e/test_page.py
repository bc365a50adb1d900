"""The page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.serving import Service, serve

pytestmark = pytest.mark.browser


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
    expect(result.get_by_role("heading")).to_have_text("Positive")
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

    expect(page.locator("#result").get_by_role("heading")).to_have_text("Negative")


def test_an_example_is_filled_in_and_judged(page: Page) -> None:
    example = page.locator("[data-example]").nth(2)
    text = example.inner_text()
    example.click()

    expect(page.locator("#result").get_by_role("heading")).to_have_text("Negative")
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
    expect(page.locator("#result").get_by_role("heading")).to_have_text("Positive")
    expect(page.locator("#result")).not_to_contain_text("empty")


def test_markup_in_a_text_stays_text(page: Page) -> None:
    text = "</textarea><img src=x onerror=alert(1)> good"
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Evaluate").click()

    expect(page.locator("#result").get_by_role("heading")).to_have_text("Positive")
    assert page.locator("img").count() == 0
    expect(page.get_by_label("Your text")).to_have_value(text)


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
    expect(page.locator("#result").get_by_role("heading")).to_have_text("Positive")
    expect(page.get_by_label("Your text")).to_have_value("\na superb film\n")

    page.locator("[data-example]").nth(1).click()
    expect(page.locator("#result").get_by_role("heading")).to_have_text("Negative")

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
    expect(page.locator("#result").get_by_role("heading")).to_be_in_viewport()

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
        expect(page.locator("#result").get_by_role("heading")).to_be_visible()
        assert page.evaluate(CONTRASTS) == []
    context.close()


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    page.get_by_label("Your text").fill("good")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result").get_by_role("heading")).to_be_visible()

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
    with serve(tmp_path) as service:
        page.goto(service.url)
        expect(page.get_by_role("heading", name="No model answers yet")).to_be_visible()
        page.screenshot(path=artifacts / "page-no-model.png", full_page=True)
        assert service.stop() == 0

    page.get_by_label("Your text").fill("good")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("#result")).to_contain_text("The server does not answer")
    context.close()

"""What a newcomer sees: both pages over nothing but the base model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.e2e.accessibility import violations
from tests.e2e.test_page import FILE
from tests.serving import Service, serve

pytestmark = pytest.mark.browser

COLD = "The food was cold and the waiter rude. But the view was gorgeous 😍!"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("fresh")) as service:
        yield service


@pytest.mark.parametrize(
    ("scheme", "width", "scripts"),
    [("light", 1200, True), ("dark", 375, True), ("light", 375, False)],
)
def test_the_page(
    browser: Browser,
    fresh: Service,
    artifacts: Path,
    axe: str,
    scheme: Literal["light", "dark"],
    width: int,
    scripts: bool,
) -> None:
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        java_script_enabled=scripts,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(fresh.url)
    expect(page.get_by_role("banner")).to_contain_text("base")
    evaluate(page, COLD)

    result = page.locator("#result")
    expect(result).to_contain_text("base")
    expect(result.locator(".shaded")).to_have_text(COLD)
    expect(result.locator(".word-negative").filter(has_text="rude")).to_be_visible()
    expect(result.locator(".word-positive").filter(has_text="gorgeous")).to_be_visible()
    expect(result).to_contain_text("Positive, ")
    expect(result).to_contain_text("Negative, ")
    name = f"base-{scheme}-{width}{'' if scripts else '-no-scripts'}"
    page.screenshot(path=artifacts / f"{name}.png", full_page=True)
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert violations(page, axe) == []

    page.goto(f"{fresh.url}/file")
    page.locator("#file").set_input_files(FILE)
    page.get_by_role("button", name="Show the verdicts").click()
    expect(page.locator("#file-result")).to_contain_text("4 rows")
    context.close()


def test_a_picture_of_a_verdict_for_the_readme(
    browser: Browser, fresh: Service, artifacts: Path
) -> None:
    """Written to artifacts; ``docs/images/page.png`` is a copy of it."""
    page = browser.new_page(viewport={"width": 1180, "height": 760}, reduced_motion="reduce")
    page.goto(fresh.url)
    evaluate(page, COLD)
    expect(page.locator("#result")).to_contain_text("Negative")
    picture = Image.open(BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(192).save(artifacts / "page.png", optimize=True)
    assert (artifacts / "page.png").stat().st_size < 100_000
    page.close()


def test_the_examples_have_the_verdicts_that_anyone_would_give(
    browser: Browser, fresh: Service
) -> None:
    page = browser.new_page()
    page.goto(fresh.url)
    verdict = page.locator("#result").get_by_role("heading", level=2)
    for index, expected in enumerate(["Positive", "Negative", "Negative", "Positive"]):
        page.locator("[data-example]").nth(index).click()
        expect(verdict).to_have_text(expected)
    page.close()


def test_the_admin_page(browser: Browser, fresh: Service, artifacts: Path, axe: str) -> None:
    link = re.search(r"http\S+/admin/link/\S+", fresh.log.read_text())
    assert link
    page = browser.new_page()
    page.goto(link[0])
    models = page.locator("#models")
    expect(models).to_contain_text("No models of your own yet")
    expect(models.locator(".model-active")).to_contain_text("base")
    expect(models.get_by_role("button")).to_have_count(1)  # for base3
    expect(page.locator("#compare")).to_contain_text("On the same labelled texts")
    page.screenshot(path=artifacts / "admin-base.png", full_page=True)
    assert violations(page, axe) == []
    page.close()


def evaluate(page: Page, text: str) -> None:
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Evaluate").click()

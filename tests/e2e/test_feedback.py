"""Corrections in a real browser, with JavaScript and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Serving, Settings
from pipelines.labelling.feedback import FeedbackStore
from tests.e2e.accessibility import violations
from tests.serving import Service, install_linear, serve

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, FeedbackStore]]:
    """A service that asks "Right?", and what it stores."""
    root = tmp_path_factory.mktemp("asking")
    install_linear(root / "models", 1, 0.1, {"good": 2.0, "stale": -2.0})
    ModelCache(root / "models").activate("reviews-v1")
    storage = f"sqlite:///{root}/kept.db"
    settings = Settings(root=root, serving=Serving(feedback_storage=storage))
    env = {"OLENS_SERVING__FEEDBACK": "1", "OLENS_SERVING__FEEDBACK_STORAGE": storage}
    with serve(root, env=env) as service:
        yield service, FeedbackStore(settings)


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "no JavaScript"])
@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1280, "light")])
def test_a_wrong_verdict_is_corrected_and_taken_back(
    browser: Browser,
    asking: tuple[Service, FeedbackStore],
    axe: str,
    artifacts: Path,
    scripts: bool,
    width: int,
    scheme: str,
) -> None:
    service, store = asking
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=scripts,
    )
    page = context.new_page()
    page.goto(service.url)
    page.get_by_label("Your text").fill("not stale\nat all")
    page.get_by_role("button", name="Evaluate").click()
    question = page.locator("#feedback")
    expect(question).to_contain_text("stored here for 90 days")
    name = f"feedback-{width}-{scripts}"
    page.screenshot(path=artifacts / f"{name}.png", full_page=True)
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert violations(page, axe) == []

    question.get_by_role("button", name="Wrong, it is Positive").click()
    expect(question).to_contain_text("Thank you. The text is stored as Positive until")
    (stored,) = store.corrections()
    assert stored.text == "not stale\nat all"
    assert (stored.prediction, stored.label) == ("NEGATIVE", "POSITIVE")
    page.screenshot(path=artifacts / f"{name}-thanks.png", full_page=True)
    if scripts:
        # The verdict is still there.
        expect(page.locator(".verdict-label")).to_have_text("Negative")
        assert violations(page, axe) == []

    question.get_by_role("button", name="Delete it again").click()
    expect(question).to_contain_text("The text is deleted.")
    assert store.corrections() == []
    context.close()

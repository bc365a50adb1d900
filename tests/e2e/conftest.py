"""A browser, and the service with a small model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from pipelines.cache.model_cache import ModelCache
from tests.e2e.accessibility import axe
from tests.serving import Service, install_linear, serve
from tests.support import PATIENCE, program

__all__ = ["axe"]

WORDS = {
    "good": 2.0,
    "superb": 3.0,
    "warmest": 2.0,
    "funniest": 2.0,
    "stale": -2.0,
    "crushed": -1.5,
    "lost": -2.0,
    "late": -1.5,
}


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright, ended before other modules run: its event loop would be in their way."""
    # Other tests keep this machine busy meanwhile.
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The Chromium of the system."""
    chromium = program("chromium", "usr/lib/chromium", "opt/*/chromium")
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("project")
    install_linear(root / "models", 1, 0.1, WORDS)
    ModelCache(root / "models").activate("reviews-v1")
    with serve(root) as service:
        yield service


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots are kept; git ignores it."""
    folder = Path(__file__).parent.parent / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder

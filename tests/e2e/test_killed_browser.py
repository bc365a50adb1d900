"""Labelling in a browser that is killed in the middle of presses, again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path
from threading import Timer

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, Playwright

from pipelines.labelling.store import LabelStore
from tests.serving import serve
from tests.support import PATIENCE, program

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KILLS = 20
TEXTS = 2_000
SHOWN = "[data-label-text]"


def test_kills_lose_no_label_that_was_acknowledged_and_give_none_twice(
    playwright: Playwright, tmp_path: Path
) -> None:
    chromium = program("chromium", "usr/lib/chromium", "opt/*/chromium")
    file = tmp_path / "pile.csv"
    file.write_text("body\n" + "\n".join(f"the {number} things" for number in range(TEXTS)))
    told: list[int] = []
    last = 0
    with serve(tmp_path) as service:
        for kill in range(KILLS):
            profile = tmp_path / f"profile{kill}"
            context = playwright.chromium.launch_persistent_context(
                profile, executable_path=chromium, args=["--no-sandbox"]
            )
            page = context.new_page()
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(f"{service.url}/sign-in?next=/label{'/pile' if kill else ''}")
            page.get_by_label("Admin secret").fill(service.token)
            page.get_by_role("button", name="Sign in").click()
            if not kill:
                page.locator("#label-file").set_input_files(file)
                page.get_by_role("button", name="Begin to label").click()
            page.get_by_label("Your name").fill("Ann")
            page.get_by_role("button", name="Begin").click()
            page.locator(SHOWN).wait_for()
            # What had no answer may be stored or not; if it is not, it is shown again.
            if last and number(page) != last:
                told.append(last)
            presses, last = press_until_killed(page, profile)
            told += presses
        store = LabelStore(f"sqlite:///{tmp_path}/labels/labels.db")
        labels = store.labels(store.project("pile"))
    assert len(set(told)) == len(told) > KILLS
    given = [label.text for label in labels]
    assert set(told) <= set(given)
    assert len(set(given)) == len(given) <= len(told) + 1
    assert {(label.annotator, label.answer) for label in labels} == {("Ann", "positive")}


def number(page: Page) -> int:
    """Of the text that is shown."""
    return int(page.locator(SHOWN).get_attribute("data-label-text") or 0)


def press_until_killed(page: Page, profile: Path) -> tuple[list[int], int]:
    """Label text after text until the browser is dead.

    Returns the texts that others have followed, and the one that was shown last.
    """
    told: list[int] = []
    shown = number(page)
    killer = Timer(random.uniform(0.2, 1.5), kill_browser, [profile])
    killer.start()
    try:
        while True:
            page.keyboard.press("2")
            page.locator(f'[data-label-text="{shown}"]').wait_for(state="detached")
            # Read first: a kill in between must not have it told and shown last as well.
            following = number(page)
            told.append(shown)
            shown = following
    except PlaywrightError:
        killer.join()
        assert not page.context.browser or not page.context.browser.is_connected()
        return told, shown


def kill_browser(profile: Path) -> None:
    """Kill the browser with this profile: all its processes, which are a group, at once."""
    pattern = f"user-data-dir={profile} "
    first = subprocess.run(["pgrep", "--oldest", "--full", pattern], capture_output=True).stdout
    os.killpg(os.getpgid(int(first)), signal.SIGKILL)

"""The whole way in a browser: a file without labels, sixty keys, a model that answers better."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.accessibility import violations
from tests.serving import Service, serve
from tests.support import PATIENCE, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LABELS = 60
# The base model knows the first words of each row and has never seen the others.
WORDS = {
    "1": ["awful", "disappointing", "quimpish", "drelled", "snorply", "vextic"],
    "2": ["lovely", "excellent", "zorbly", "flimbant", "gruvvish", "plendid"],
}
THINGS = ["jacket", "kettle", "phone", "hotel", "film", "pub", "game", "lamp", "tent", "radio"]
PATTERNS = [
    "The {thing} that came on {day} is {word}",
    "{word} {thing}, bought it on {day} for {sum} pounds",
    "My {day} with this {thing}: {word}",
    "We had the {thing} for {sum} days and it was {word}",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def texts(n: int) -> dict[str, str]:
    """`n` different texts with the key of their class."""
    draw = np.random.default_rng(11)
    found: dict[str, str] = {}
    while len(found) < n:
        key = str(draw.choice(list(WORDS)))
        text = str(draw.choice(PATTERNS)).format(
            thing=draw.choice(THINGS),
            word=draw.choice(WORDS[key]),
            day=draw.choice(DAYS),
            sum=draw.integers(1, 400),
        )
        found[text] = key
    return found


@pytest.fixture(scope="module")
def labelled_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("labelling")) as service:
        yield service


def accuracy(service: Service, held_out: dict[str, str]) -> float:
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        found = client.post("/api/v1/inference/batch_predict", json=list(held_out)).json()
    names = {"1": "NEGATIVE", "2": "POSITIVE"}
    right = [f["prediction"] == names[k] for f, k in zip(found, held_out.values(), strict=True)]
    return sum(right) / len(right)


def sign_in(page: Page, service: Service) -> None:
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{service.url}/sign-in?next=/label")
    page.get_by_label("Admin secret").fill(service.token)
    page.get_by_role("button", name="Sign in").click()


def begin(page: Page, file: Path, name: str) -> None:
    page.locator("#label-file").set_input_files(file)
    page.get_by_role("button", name="Begin to label").click()
    if page.get_by_label("Your name").count():
        page.get_by_label("Your name").fill(name)
        page.get_by_role("button", name="Begin").click()


def test_the_whole_loop(
    browser: Browser, labelled_service: Service, artifacts: Path, axe: str, tmp_path: Path
) -> None:
    service = labelled_service
    everything = list(texts(2_500).items())
    answers, held_out = dict(everything[:2_000]), dict(everything[2_000:])
    before = accuracy(service, held_out)
    file = tmp_path / "reviews.csv"
    file.write_text("body\n" + "\n".join(f'"{text}"' for text in answers))
    page = browser.new_page(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    sign_in(page, service)
    begin(page, file, "Ann")
    expect(page.locator("#desk")).to_contain_text("of 2,000 texts labelled")

    shown = page.locator("[data-label-text]")
    for _ in range(LABELS):
        number = shown.get_attribute("data-label-text")
        page.keyboard.press(answers[shown.inner_text().strip()])
        expect(page.locator(f'[data-label-text="{number}"]')).to_have_count(0)
    progress = page.locator("#label-progress")
    expect(progress).to_contain_text(f"{LABELS} of 2,000 texts labelled")
    expect(progress).to_contain_text("It has learnt from 4")
    expect(progress).to_contain_text("drawn at random")

    undone = shown.get_attribute("data-label-text")
    page.keyboard.press("s")
    expect(page.locator(f'[data-label-text="{undone}"]')).to_have_count(0)
    page.keyboard.press("u")
    expect(shown).to_have_attribute("data-label-text", str(undone))
    page.keyboard.press("n")
    page.keyboard.type("1 of a kind")
    expect(page.get_by_label("Note")).to_have_value("1 of a kind")
    page.keyboard.press("Enter")
    expect(shown).to_have_attribute("data-label-text", str(undone))
    page.screenshot(path=artifacts / "label.png", full_page=True)
    assert violations(page, axe) == []

    page.get_by_label("Name of the model").fill("mine")
    page.get_by_role("button", name="Make a model of the labels").click()
    activate = page.get_by_role("button", name="Activate mine-v1")
    expect(activate).to_be_visible()
    page.screenshot(path=artifacts / "label-model.png", full_page=True)
    activate.click()
    expect(page.locator("#notice")).to_contain_text("mine-v1 answers now")

    def answering() -> bool:
        found = httpx.get(f"{service.url}/api/v1/models/active", timeout=PATIENCE)
        return "mine-v1" in found.text

    wait_for(answering)
    after = accuracy(service, held_out)
    assert after > before + 0.1, (before, after)
    page.close()


@pytest.mark.parametrize(
    ("scheme", "width", "scripts"),
    [("light", 1200, True), ("dark", 375, True), ("light", 375, False)],
)
def test_the_page(
    browser: Browser,
    labelled_service: Service,
    artifacts: Path,
    axe: str,
    tmp_path: Path,
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
    sign_in(page, labelled_service)
    if scripts:
        assert violations(page, axe) == []
    name = f"{scheme}-{width}{'' if scripts else '-no-scripts'}"
    file = tmp_path / f"{name}.csv"
    file.write_text("body\n" + "\n".join(f'"{text}"' for text in texts(60)))
    begin(page, file, name)
    for _ in range(3):
        shown = page.locator("[data-label-text]")
        number = shown.get_attribute("data-label-text")
        page.get_by_role("button", name=re.compile("^Negative")).click()
        expect(page.locator(f'[data-label-text="{number}"]')).to_have_count(0)
    expect(page.locator("#label-progress")).to_contain_text("3 of 60 texts labelled")
    page.screenshot(path=artifacts / f"label-{name}.png", full_page=True)
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert violations(page, axe) == []
    page.get_by_role("button", name=re.compile("^Undo")).click()
    expect(page.locator("#label-progress")).to_contain_text("2 of 60 texts labelled")
    context.close()

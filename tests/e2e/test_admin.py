"""The admin page in a real browser, over a real registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    FilePayload,
    Page,
    Route,
    StorageState,
    expect,
)

from pipelines.cache.model_cache import ModelCache
from pipelines.workflows.register import register
from tests.e2e.accessibility import violations
from tests.e2e.test_page import CONTRASTS
from tests.integration.test_adapt_command import labelled
from tests.integration.tracked import log_model, project_settings, save_model
from tests.serving import Service, install_linear, serve
from tests.support import PATIENCE, wait_for

pytestmark = pytest.mark.browser

SCREENS = [("light", "light", 1200), ("phone-dark", "dark", 375)]
LABELLED: FilePayload = {
    "name": "mine.csv",
    "mimeType": "text/csv",
    "buffer": b"text,label\n" + b"good,1\nbad,0\nbad but good,0\nbad but good,1\n" * 5,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two linear models, and a registry with two others."""
    root = tmp_path_factory.mktemp("project")
    settings = project_settings(root)
    save_model(root / "logged")
    logged, _ = log_model(settings, root / "logged")
    register(settings, "flights", logged)
    register(settings, "shop", logged)
    register(settings, "shop", logged, alias="champion")
    register(settings, "shop", logged)
    for version in (1, 2, 3):
        install_linear(root / "models", version, 0.1, {"good": 2.0, "bad": -1.5 * version})
    ModelCache(root / "models").activate("reviews-v1")
    return root


@pytest.fixture(scope="module")
def admin(root: Path) -> Iterator[Service]:
    with serve(root) as service:
        for text in ("good", "good", "bad", "good and bad"):
            httpx.post(
                f"{service.url}/api/v1/inference/predict", json={"text": text}, timeout=PATIENCE
            )
        yield service


@pytest.fixture(scope="module")
def signed_in(browser: Browser, admin: Service) -> StorageState:
    """The cookies of whoever opened the link that was printed."""
    link = re.search(r"http\S+/admin/link/\S+", admin.log.read_text())
    assert link
    context = browser.new_context()
    page = context.new_page()
    page.goto(link[0])
    assert page.url == f"{admin.url}/admin"
    page.goto(link[0])
    expect(page.get_by_role("alert")).to_contain_text("used already")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(browser: Browser, admin: Service, signed_in: StorageState) -> Iterator[Page]:
    """The page; the test fails on any error in the console and on requests to other hosts."""
    context = browser.new_context(storage_state=signed_in)
    page = context.new_page()
    complaints: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        # To htmx, a request that gave way to another is an error.
        if said.type == "error" and not said.text.startswith(
            ("htmx:afterRequest", "htmx:sendAbort")
        ):
            complaints.append(said.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(f"{admin.url}/admin")
    yield page
    context.close()
    assert complaints == []
    assert hosts == {urlsplit(admin.url).netloc}


def answering(service: Service) -> str:
    return str(httpx.get(f"{service.url}/health/ready", timeout=PATIENCE).json()["model"])


def test_models_are_activated_and_removed_in_place(page: Page, admin: Service) -> None:
    page.get_by_role("button", name="Switch to reviews-v2").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v2 answers now.")
    expect(page.get_by_role("status")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Switch to reviews-v2")).to_have_count(0)
    wait_for(lambda: answering(admin) == "reviews-v2")
    expect(page.locator("#service")).to_contain_text("reviews-v2")

    page.get_by_text("More about reviews-v3").click()
    page.get_by_text("Remove… reviews-v3").click()
    page.get_by_role("button", name="Yes, remove reviews-v3").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v3 is removed.")
    expect(page.get_by_text("reviews version 3")).to_have_count(0)

    page.get_by_role("button", name="Go back to reviews-v1").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v1 answers now.")


def test_a_late_answer_does_not_undo_a_switch(page: Page, admin: Service) -> None:
    """A list that was asked for before the switch arrives while it is made."""
    before = page.request.get(f"{admin.url}/admin/models", headers={"HX-Request": "true"})
    late: list[Route] = []

    def switch(route: Route) -> None:
        answer = route.fetch()
        for asked in late:
            with suppress(Error):  # the page does not wait for it any more
                asked.fulfill(response=before)
        route.fulfill(response=answer)

    page.route("**/admin/models", lambda asked: late.append(asked))
    page.route("**/reviews-v2/activate", switch)
    with page.expect_request("**/admin/models"):
        page.evaluate("htmx.trigger(document.body, 'fetches-ended')")
    page.get_by_role("button", name="Switch to reviews-v2").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v2 answers now.")
    page.get_by_role("button", name="Switch to reviews-v1").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v1 answers now.")
    assert late


def test_a_model_is_fetched_and_answers(page: Page, admin: Service) -> None:
    page.get_by_label("Model", exact=True).select_option("shop")
    version = page.get_by_label("Version of shop")
    expect(version.get_by_role("option")).to_have_text(
        ["The alias champion, or else the newest version", "3", "2 (@champion)", "1"]
    )
    version.select_option("3")
    page.get_by_label("Activate it after the download").uncheck()
    page.get_by_role("button", name="Fetch").click()
    downloads = page.get_by_role("region", name="Downloads")
    expect(downloads).to_contain_text("shop-v3 is fetched.")
    expect(page.get_by_role("button", name="Switch to shop-v3")).to_be_visible()
    wait_for(lambda: answering(admin) == "reviews-v1")

    version.select_option("")
    page.get_by_label("Activate it after the download").check()
    page.get_by_role("button", name="Fetch").click()
    expect(downloads).to_contain_text("shop-v2 is fetched and active.")
    wait_for(lambda: answering(admin) == "shop-v2")
    page.get_by_role("button", name="Switch to reviews-v1").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v1 answers now.")


def test_the_keyboard_suffices(page: Page) -> None:
    page.get_by_role("button", name="Switch to reviews-v2").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("reviews-v2 answers now.")

    page.locator("summary", has_text="More about reviews-v1").focus()
    page.keyboard.press("Enter")
    remove = page.locator("#remove-reviews-v1")
    remove.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, remove reviews-v1")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, remove reviews-v1")).to_be_hidden()

    page.get_by_role("button", name="Switch to reviews-v1").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("reviews-v1 answers now.")


@pytest.fixture
def plain(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without JavaScript."""
    context = browser.new_context(java_script_enabled=False)
    yield context
    context.close()


def test_without_javascript_everything_works(
    plain: BrowserContext, admin: Service, artifacts: Path
) -> None:
    page = plain.new_page()
    page.goto(f"{admin.url}/admin")
    expect(page).to_have_url(f"{admin.url}/sign-in?next=%2Fadmin")
    page.get_by_label("Admin secret").fill("not the secret")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the secret.")
    page.get_by_label("Admin secret").fill(admin.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{admin.url}/admin")

    # Behind the link "Ask the registry", which is there unless it was asked a moment ago.
    page.goto(f"{admin.url}/admin?registry=ask")
    page.get_by_label("Model", exact=True).select_option("shop")
    page.get_by_role("button", name="Show its versions").click()
    page.get_by_label("Version of shop").select_option("1")
    page.get_by_label("Activate it after the download").uncheck()
    page.get_by_role("button", name="Fetch").click()
    # The page reloads itself until the model is fetched.
    expect(page.locator("#fetches")).to_contain_text("shop-v1 is fetched.")
    page.screenshot(path=artifacts / "admin-without-javascript.png", full_page=True)

    page.get_by_role("button", name="Switch to reviews-v2").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v2 answers now.")
    page.get_by_role("button", name="Switch to reviews-v1").click()
    page.get_by_text("More about shop-v1").click()
    page.get_by_text("Remove… shop-v1").click()
    page.get_by_role("button", name="Yes, remove shop-v1").click()
    expect(page.get_by_role("status")).to_have_text("shop-v1 is removed.")
    wait_for(lambda: answering(admin) == "reviews-v1")

    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{admin.url}/admin")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_model_is_made_of_a_labelled_file(page: Page, admin: Service, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    rows = [("text", "label"), *labelled()]
    file.write_text("\n".join(f'"{text}",{label}' for text, label in rows))
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_label("Name of the model").fill("taught")
    page.get_by_role("button", name="Learn and compare").click()
    result = page.get_by_role("region", name="What came of the file")
    expect(result.get_by_role("table")).to_contain_text("From scratch")
    result.get_by_role("button", name="Activate taught-v1").click()
    expect(page.get_by_role("status")).to_have_text("taught-v1 answers now.")
    wait_for(lambda: answering(admin) == "taught-v1")

    page.get_by_role("button", name="Switch to reviews-v1").click()
    expect(page.get_by_role("status")).to_have_text("reviews-v1 answers now.")


@pytest.mark.parametrize(("name", "scheme", "width"), SCREENS)
def test_it_fits_every_screen_and_reader(
    browser: Browser,
    admin: Service,
    signed_in: StorageState,
    artifacts: Path,
    axe: str,
    name: str,
    scheme: str,
    width: int,
) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
        storage_state=signed_in,
    )
    page = context.new_page()
    page.goto(f"{admin.url}/admin")
    expect(page.get_by_label("Model", exact=True)).to_be_visible()
    page.get_by_text("More about reviews-v2").click()
    page.get_by_text("Remove… reviews-v2").click()
    page.locator("#compare-file").set_input_files(LABELLED)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#comparison")).to_contain_text("Where they disagree")
    page.screenshot(path=artifacts / f"admin-{name}.png", full_page=True)
    check(page, axe, width)

    context.clear_cookies()
    page.goto(f"{admin.url}/sign-in")
    page.get_by_label("Admin secret").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.screenshot(path=artifacts / f"sign-in-{name}.png", full_page=True)
    check(page, axe, width)
    context.close()


def check(page: Page, axe: str, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert violations(page, axe) == []
    assert page.evaluate(CONTRASTS) == []


def test_a_registry_that_is_down_is_a_message(
    browser: Browser, root: Path, artifacts: Path
) -> None:
    down = {"OLENS_MLFLOW__REGISTRY_URI": "http://127.0.0.1:9", "OLENS_MLFLOW__TIMEOUT": "1"}
    with serve(root, env=down) as service:
        link = re.search(r"http\S+/admin/link/\S+", service.log.read_text())
        assert link
        page = browser.new_page()
        page.goto(link[0])
        expect(page.locator("#registry")).to_contain_text("connection refused")
        page.screenshot(path=artifacts / "admin-registry-down.png", full_page=True)
        expect(page.get_by_role("button", name="Switch to reviews-v2")).to_be_visible()
        page.get_by_role("link", name="Ask again").click()
        expect(page.locator("#registry")).to_contain_text("connection refused")
        page.close()

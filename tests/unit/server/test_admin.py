from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server import registry
from opinionlens_server.activity import MINUTES, Activity, Minute, Totals, _differences
from opinionlens_server.app import create_app
from opinionlens_server.fetches import Fetch, Fetches, FetchRequest
from opinionlens_server.registry import RegistryListing
from opinionlens_server.sessions import CSRF_FIELD, SESSION_COOKIE
from pipelines import errors
from pipelines.inference import fetching
from pipelines.registry.cache import ModelCache
from pipelines.registry.client import Registry
from pipelines.registry.entries import CachedModel
from pipelines.registry.versions import RegisteredModel, RegisteredVersion
from pipelines.settings import MLflow, Settings
from tests.unit.server.conftest import WAIT, Install, load_counting_scorer, wait_for

Client = TestClient[Litestar]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def signed_in(client: Client, app: Litestar) -> Client:
    session = app.state.sessions.open("admin")
    client.cookies.set(SESSION_COOKIE, str(app.state.sessions.cookie(session, False).value))
    client.headers[CSRF_FIELD] = app.state.sessions.csrf_token(session)
    client.headers["X-CSRF-Token"] = app.state.sessions.csrf_token(session)
    return client


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[RegisteredModel]:
    """What the registry offers."""

    def version(name: str, number: int, *aliases: str) -> RegisteredVersion:
        return RegisteredVersion(
            name=name,
            version=number,
            created=datetime(2026, 5, 4, tzinfo=UTC),
            source="test",
            aliases=list(aliases),
            metrics={"accuracy": 0.915},
        )

    models = [
        RegisteredModel(name="flights", versions=[version("flights", 1)]),
        RegisteredModel(
            name="reviews", versions=[version("reviews", 3, "champion"), version("reviews", 2)]
        ),
        RegisteredModel(name="without", versions=[]),
    ]
    monkeypatch.setattr(Registry, "models", lambda self: models)
    return models


def test_the_models_with_what_is_known_about_them(signed_in: Client, cache: ModelCache) -> None:
    page = unescape(signed_in.get("/admin").text)

    assert re.search(r"reviews <span class=\"version\">version 1</span>", page)
    assert "@champion" in page
    assert "0.92" in page
    assert "4 May 2026" in page
    assert page.count('<span class="badge">Active</span>') == 1
    # The active one can be neither activated nor removed, the base model not removed.
    assert re.findall(r'action="/admin/models/([^"]+)"', page) == [
        "reviews-v2/activate",
        "reviews-v2/remove",
        "base/activate",
    ]


def test_nothing_is_inline(signed_in: Client, offered: object) -> None:
    page = signed_in.get("/admin?registry=ask").text
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", page)
    assert re.findall(r"<script(?![^>]*\ssrc=)", page) == []


class TestWithoutJavaScript:
    def test_activating_leads_back_to_the_page(self, signed_in: Client, cache: ModelCache) -> None:
        answer = signed_in.post("/admin/models/reviews-v2/activate", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin#models")
        assert "reviews-v2 answers now." in signed_in.get("/admin").text
        # It is said once.
        assert "reviews-v2 answers now." not in signed_in.get("/admin").text
        active = cache.active()
        assert active
        assert active.id == "reviews-v2"

    def test_removing(self, signed_in: Client, cache: ModelCache) -> None:
        page = signed_in.post("/admin/models/reviews-v2/remove")
        assert "reviews-v2 is removed." in page.text
        assert [model.id for model in cache.list()] == ["reviews-v1"]

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("reviews-v1/remove", "reviews-v1 is the active model"),
            ("nothing-v1/remove", "There is no model"),
            ("nothing-v1/activate", "There is no model"),
            ("broken-v1/activate", "broken-v1 is damaged"),
            ("%2e%2e-v1/activate", "There is no model"),
        ],
    )
    def test_what_cannot_be_done_is_said(
        self, signed_in: Client, install: Install, path: str, said: str
    ) -> None:
        install(1, name="broken")
        page = signed_in.post(f"/admin/models/{path}")
        assert said in unescape(page.text)
        assert "flash-failed" in page.text
        models = signed_in.get("/api/v1/models").json()
        assert [model["id"] for model in models if model["active"]] == ["reviews-v1"]

    def test_the_registry_is_asked_on_demand(self, signed_in: Client, offered: object) -> None:
        assert "Ask the registry" in signed_in.get("/admin").text

        page = signed_in.get("/admin?registry=ask").text
        assert "Version of flights" in page
        page = signed_in.get("/admin?model_name=reviews").text
        assert '<input type="hidden" name="model_name" value="reviews">' in page
        assert re.findall(r'<option value="(\d*)">', page) == ["", "3", "2"]

    def test_fetching_shows_its_progress_by_itself(
        self, signed_in: Client, offered: object, fetches: FakeFetch
    ) -> None:
        form = {"model_name": "reviews", "model_version": "3", "set_default": "yes"}
        page = signed_in.post("/admin/fetches", data=form)
        assert "reviews, version 3" in page.text
        assert 'http-equiv="refresh"' in page.text

        fetches.go_on.set()
        wait_for(lambda: "reviews-v3 is here and answers." in signed_in.get("/admin").text)
        assert 'http-equiv="refresh"' not in signed_in.get("/admin").text


class TestHtmx:
    def test_activating_swaps_the_models(self, signed_in: Client) -> None:
        part = signed_in.post("/admin/models/reviews-v2/activate", headers=HTMX)
        assert part.status_code == 200
        assert part.text.lstrip().startswith('<section id="models"')
        assert 'hx-swap-oob="innerHTML"' in part.text
        assert "reviews-v2 answers now." in part.text
        assert part.headers["hx-trigger"] == "model-changed"

    def test_versions_follow_the_name(self, signed_in: Client, offered: object) -> None:
        part = signed_in.get("/admin/versions", params={"model_name": "reviews"}, headers=HTMX)
        assert part.text.lstrip().startswith('<div id="versions"')
        assert "3 (@champion)" in part.text

    def test_a_form_of_another_session_is_said_in_the_page(self, signed_in: Client) -> None:
        wrong = {**HTMX, "X-CSRF-Token": "wrong"}
        part = signed_in.post("/admin/models/reviews-v2/activate", headers=wrong)
        assert part.status_code == 403
        assert part.headers["hx-retarget"] == "#notice"
        assert "Reload the page" in part.text

    def test_progress_is_polled_until_the_end(
        self, signed_in: Client, offered: object, fetches: FakeFetch
    ) -> None:
        form = {"model_name": "reviews", "model_version": "3"}
        part = signed_in.post("/admin/fetches", data=form, headers=HTMX)
        assert 'hx-trigger="every 700ms"' in part.text
        fetches.report(500_000, 2_000_000)
        wait_for(lambda: "500 kB of 2.0 MB" in signed_in.get("/admin/fetches").text)
        assert 'max="2000000" value="500000"' in signed_in.get("/admin/fetches").text

        fetches.go_on.set()
        wait_for(lambda: "reviews-v3 is here." in signed_in.get("/admin/fetches").text)
        ended = signed_in.get("/admin/fetches", headers=HTMX)
        assert "every 700ms" not in ended.text
        assert ended.headers["hx-trigger"] == "fetches-ended"
        assert "reviews-v3" in signed_in.get("/admin/models", headers=HTMX).text


class FakeFetch:
    """Stands for the registry: waits until it may go on."""

    def __init__(self, install: Install) -> None:
        self.asked: list[dict[str, object]] = []
        self.go_on = threading.Event()
        self.failure: Exception | None = None
        self._install = install
        self._report: Callable[[int, int], None] = lambda received, total: None
        self._started = threading.Event()

    def __call__(self, settings: Settings, name: str, **options: object) -> CachedModel:
        self._report = options.pop("on_progress")  # type: ignore[assignment]
        self.asked.append({"name": name, **options})
        self._started.set()
        assert self.go_on.wait(WAIT)
        if self.failure:
            raise self.failure
        return self._install(3)

    def report(self, received: int, total: int) -> None:
        assert self._started.wait(WAIT)
        self._report(received, total)


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch, install: Install) -> Iterator[FakeFetch]:
    fake = FakeFetch(install)
    monkeypatch.setattr(fetching, "fetch_model", fake)
    yield fake
    fake.go_on.set()


class TestFetches:
    def test_two_admins_fetch_once(self, signed_in: Client, fetches: FakeFetch) -> None:
        form = {"model_name": "reviews", "model_version": "3"}
        for _ in range(2):
            answer = signed_in.post("/admin/fetches", data=form, headers=HTMX)
        assert "being fetched already" in answer.text
        fetches.go_on.set()
        wait_for(lambda: "reviews-v3 is here." in signed_in.get("/admin/fetches").text)
        assert len(fetches.asked) == 1

    def test_who_wants_more_is_served_as_well(self, signed_in: Client, fetches: FakeFetch) -> None:
        form = {"model_name": "reviews", "model_version": "3"}
        signed_in.post("/admin/fetches", data=form)
        signed_in.post("/admin/fetches", data={**form, "set_default": "yes"})
        fetches.go_on.set()
        wait_for(lambda: "is here and answers." in signed_in.get("/admin/fetches").text)
        assert len(fetches.asked) == 2

    @pytest.mark.parametrize(
        ("failure", "said"),
        [
            (errors.RegistryUnavailableError("The registry does not answer"), "does not answer"),
            (errors.RegistryAuthError("The registry refused the user 'me'"), "refused the user"),
            (errors.StorageError("The disk is full"), "The disk is full"),
            (errors.UnsafeModelError("It is a pickle"), "It is a pickle"),
            (ValueError("secret detail"), "the log says what"),
        ],
    )
    def test_a_failure_is_said(
        self, signed_in: Client, fetches: FakeFetch, failure: Exception, said: str
    ) -> None:
        fetches.failure = failure
        fetches.go_on.set()
        signed_in.post("/admin/fetches", data={"model_name": "reviews", "set_default": "yes"})
        wait_for(lambda: "Failed." in signed_in.get("/admin/fetches").text)
        assert said in unescape(signed_in.get("/admin/fetches").text)
        assert "secret detail" not in signed_in.get("/admin/fetches").text
        assert signed_in.get("/health/ready").json()["model"] == "reviews-v1"

    @pytest.mark.parametrize(
        "form",
        [{}, {"model_name": "reviews", "model_version": "0"}]
        + [{"model_name": "reviews", "model_version": v} for v in ("x", "-1", "²", "9" * 30)],
    )
    def test_a_senseless_form_is_refused(
        self, signed_in: Client, fetches: FakeFetch, form: dict[str, str]
    ) -> None:
        page = signed_in.post("/admin/fetches", data=form or {"nothing": ""})
        assert "flash-failed" in page.text
        assert fetches.asked == []

    def test_the_fetch_of_a_killed_worker_is_given_up(self, app: Litestar) -> None:
        fetches: Fetches = app.state.fetches
        fetches._begin(FetchRequest("reviews"))
        with app.state.shared.database() as database:
            database.execute("UPDATE fetches SET worker = ?", (2**22 + 1,))

        (lost,) = fetches.recent()
        assert (lost.state, lost.message) == ("failed", "Its process has ended. Fetch it again.")

    def test_only_the_last_ones_are_kept(self, app: Litestar) -> None:
        fetches: Fetches = app.state.fetches
        for number in range(20):
            fetches._end(fetches._begin(FetchRequest(f"model-{number}")), "done", "")
        assert [fetch.name for fetch in fetches.recent()] == [
            f"model-{number}" for number in (19, 18, 17, 16, 15)
        ]

    @pytest.mark.parametrize(
        ("version", "alias", "said"),
        [(3, None, "m, version 3"), (None, "champion", "m@champion"), (None, None, "m")],
    )
    def test_what_is_wanted(self, version: int | None, alias: str | None, said: str) -> None:
        assert Fetch(1, "m", version, alias, False, "done", 0, None, "").wanted == said


class TestRegistry:
    def test_what_it_offers(self, signed_in: Client, offered: object) -> None:
        part = signed_in.get("/admin/registry", headers=HTMX).text
        assert part.count('<th scope="row">reviews</th>') == 2
        assert "0.915" in part
        assert "No version yet" in part

    def test_an_empty_one_says_how_to_fill_it(
        self, signed_in: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Registry, "models", lambda self: [])
        assert "olens register" in signed_in.get("/admin/registry").text

    @pytest.mark.parametrize(
        "failure",
        [
            errors.RegistryUnavailableError("nobody answers"),
            errors.RegistryAuthError("wrong password"),
            errors.MissingExtraError("mlflow", "train"),
            errors.SettingsError("no address"),
        ],
    )
    def test_one_that_does_not_help_is_a_message(
        self, signed_in: Client, monkeypatch: pytest.MonkeyPatch, failure: Exception
    ) -> None:
        def fail(self: Registry) -> list[RegisteredModel]:
            raise failure

        monkeypatch.setattr(Registry, "models", fail)
        for path in ("/admin/registry", "/admin?registry=ask"):
            page = signed_in.get(path)
            assert page.status_code == 200
            assert unescape(str(failure)) in unescape(page.text)
            assert "Ask again" in page.text

    def test_a_slow_one_is_given_up_and_asked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked, go_on = [], threading.Event()

        def wait(self: Registry) -> list[RegisteredModel]:
            asked.append(1)
            assert go_on.wait(WAIT)
            return []

        monkeypatch.setattr(Registry, "models", wait)
        monkeypatch.setattr(registry, "GRACE_SECONDS", 0.0)

        async def ask() -> None:
            listing = RegistryListing(MLflow(timeout=0.05))
            for _ in range(3):
                start = time.monotonic()
                with pytest.raises(errors.RegistryUnavailableError, match="has not answered"):
                    await listing.models()
                assert time.monotonic() - start < WAIT
            assert len(asked) == 1
            go_on.set()
            assert await listing.models() == []
            assert listing.known == []

        asyncio.run(ask())


class TestService:
    def test_the_facts(self, signed_in: Client) -> None:
        for text in ("good", "bad bad", "good"):
            signed_in.post("/api/v1/inference/predict", json={"text": text})
        page = signed_in.get("/admin/service").text

        assert "<dt>Workers</dt><dd>1</dd>" in page
        assert "<dt>Verdicts</dt><dd>3</dd>" in page
        assert "2 positive, 1 negative" in page
        assert page.count('class="spark-positive"') == 1
        assert page.count('class="spark-negative"') == 1

    def test_verdicts_by_minute(self) -> None:
        samples = {100: Totals(0, 0, 0), 102: Totals(9, 4, 1), 103: Totals(9, 5, 1)}
        found = _differences(samples, Totals(20, 7, 4), 103)

        assert len(found) == MINUTES
        assert found[-3:] == [Minute(4, 1), Minute(1, 0), Minute(2, 3)]
        assert found[-4] == Minute(0, 0)

    def test_a_counter_that_began_anew_is_no_negative_number(self) -> None:
        found = _differences({100: Totals(9, 9, 9)}, Totals(1, 1, 0), 101)
        assert found[-1] == Minute(0, 0)

    def test_one_sample_a_minute(self, app: Litestar) -> None:
        activity: Activity = app.state.activity
        for _ in range(3):
            activity.sample()
        with app.state.shared.database() as database:
            (count,) = database.execute("SELECT count(*) FROM minutes").fetchone()
        assert count <= 2

    def test_a_failed_switch_is_shown(self, settings: Settings, install: Install) -> None:
        install(1, name="broken", activate=True)
        app = create_app(settings, load_counting_scorer)
        with TestClient(app) as client:
            session = app.state.sessions.open("admin")
            client.cookies.set(SESSION_COOKIE, str(app.state.sessions.cookie(session, False).value))
            assert "broken-v1 is damaged" in client.get("/admin").text

    def test_a_damaged_entry_can_be_removed(self, signed_in: Client, cache: ModelCache) -> None:
        (cache.folder / "reviews-v2" / "entry.json").write_text("{")
        page = signed_in.get("/admin").text
        assert "reviews-v2 cannot be used" in page

        signed_in.post("/admin/models/reviews-v2/remove")
        assert not (cache.folder / "reviews-v2").exists()

    def test_a_shared_file_that_cannot_be_used_is_said(
        self, signed_in: Client, app: Litestar
    ) -> None:
        (app.state.shared.folder / "state.db").write_bytes(b"not a database")
        with pytest.raises(errors.StorageError, match="cannot be used"):
            app.state.shared.use_link("x") or app.state.fetches.recent()
        answer = signed_in.get("/admin/fetches")
        assert answer.status_code == 507
        assert signed_in.post("/api/v1/inference/predict", json={"text": "good"}).status_code == 200


def test_sqlite_waits_for_other_workers(app: Litestar) -> None:
    """Writers of several processes take turns and do not fail."""
    path = app.state.shared.folder / "state.db"
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, blocker.rollback).start()
    assert app.state.fetches.recent() == []
    blocker.close()

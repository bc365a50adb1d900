from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape

import numpy as np
import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.models import registry
from opinionlens_server.models.fetching import Fetch, Fetches, FetchRequest
from opinionlens_server.models.registry import RegistryListing
from opinionlens_server.observability.activity import (
    MINUTES,
    Activity,
    Minute,
    _differences,
)
from opinionlens_server.observability.metrics import Totals
from opinionlens_server.security.sessions import SESSION_COOKIE
from pipelines import errors
from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import MLflow, Settings
from pipelines.registry.client import Registry
from pipelines.registry.versions import RegisteredModel, RegisteredVersion
from pipelines.tables.labelled import LabelledTable
from pipelines.training.evaluation import evaluate
from pipelines.workflows import adapt, fetch
from pipelines.workflows.adapt import Adapted
from pipelines.workflows.learnt_model import Figures
from tests.support import PATIENCE, wait_for
from tests.unit.server.conftest import Install, load_counting_scorer

Client = TestClient[Litestar]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def signed_in(client: Client, app: Litestar) -> Client:
    session = app.state.services.sessions.open("admin")
    client.cookies.set(
        SESSION_COOKIE, str(app.state.services.sessions.cookie(session, False).value)
    )
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
    assert "<strong>92.0 %</strong>" in page
    assert 'test texts <span class="hint">(imdb' in page  # of the base model
    assert "4 May 2026" in page
    assert page.count('<span class="badge">Answers</span>') == 1
    # The active one can be neither activated nor removed, the base models not removed.
    assert re.findall(r'action="/admin/models/([^"]+)"', page) == [
        "base/activate",  # to go back
        "reviews-v2/activate",
        "reviews-v2/remove",
        "base/activate",
        "base3/activate",
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
    def test_impossible_changes_are_explained(
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
        wait_for(lambda: "reviews-v3 is fetched and active." in signed_in.get("/admin").text)
        assert 'http-equiv="refresh"' not in signed_in.get("/admin").text


def test_the_model_before_is_one_click_away(signed_in: Client, cache: ModelCache) -> None:
    def back() -> list[str]:
        return re.findall(r">Go back to (\S+)</button>", signed_in.get("/admin/models").text)

    assert back() == ["base"]
    signed_in.post("/admin/models/reviews-v2/activate")
    signed_in.post("/admin/models/reviews-v2/activate")
    assert back() == ["reviews-v1"]
    signed_in.post("/admin/models/base/activate")
    signed_in.post("/admin/models/base/activate")
    assert back() == ["reviews-v2"]
    signed_in.post("/admin/models/reviews-v2/activate")
    assert back() == ["base"]
    for name, before in (("base", "reviews-v2"), ("base3", "base"), ("base", "base3")):
        signed_in.post(f"/admin/models/{name}/activate")
        assert back() == [before]
    signed_in.post("/admin/models/base3/activate")
    signed_in.post("/admin/models/reviews-v2/activate")
    assert back() == ["base3"]

    signed_in.post("/admin/models/reviews-v1/activate")
    cache.remove("reviews-v2")
    assert "Go back to" not in signed_in.get("/admin/models").text


class TestComparison:
    FILE = "text,label\n" + "good,1\nbad,0\nfine,0\n" * 10

    def compare(self, client: Client, file: str = FILE, **form: str) -> str:
        data = {"candidate": "reviews-v2", "champion": "broken-v1", **form}
        answer = client.post(
            "/admin/comparison", data=data, files={"file": ("a.csv", file)}, headers=HTMX
        )
        return unescape(answer.text)

    def test_two_models_that_agree(self, signed_in: Client) -> None:
        said = self.compare(signed_in, champion="base")

        assert "These texts do not show that one is better." in said
        assert "reviews-v2 judges 66.7 % of 30 texts as labelled, base 66.7 %" in said
        assert "They agree on every text" in said

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({"champion": "reviews-v2"}, "Choose two different models."),
            ({"champion": "nothing-v1"}, "There is no model"),
            ({"file": "text,x\ngood,1\n"}, "no column is called like one of labels"),
        ],
    )
    def test_what_cannot_be_compared_is_said(
        self, signed_in: Client, form: dict[str, str], said: str
    ) -> None:
        assert said in self.compare(signed_in, **{"champion": "base", **form})


class TestHtmx:
    def test_activating_swaps_the_models(self, signed_in: Client) -> None:
        part = signed_in.post("/admin/models/reviews-v2/activate", headers=HTMX)
        assert part.status_code == 200
        assert part.text.lstrip().startswith('<section id="models"')
        assert 'hx-swap-oob="innerHTML"' in part.text
        assert "reviews-v2 answers now." in part.text
        assert part.headers["hx-trigger"] == '{"model-changed":{}}'

    def test_versions_follow_the_name(self, signed_in: Client, offered: object) -> None:
        part = signed_in.get("/admin/versions", params={"model_name": "reviews"}, headers=HTMX)
        assert part.text.lstrip().startswith('<div id="versions"')
        assert "3 (@champion)" in part.text

    def test_an_error_is_shown_among_the_notices(self, signed_in: Client) -> None:
        foreign = {**HTMX, "Sec-Fetch-Site": "cross-site"}
        part = signed_in.post("/admin/models/reviews-v2/activate", headers=foreign)
        assert part.status_code == 403
        assert part.headers["hx-retarget"] == "#notice"
        assert part.headers["hx-reswap"] == "innerHTML"
        assert "A page of another site sent this request" in part.text

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
        wait_for(lambda: "reviews-v3 is fetched." in signed_in.get("/admin/fetches").text)
        ended = signed_in.get("/admin/fetches", headers=HTMX)
        assert "every 700ms" not in ended.text
        assert json.loads(ended.headers["hx-trigger"]) == {"fetches-ended": {}}
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
        assert self.go_on.wait(PATIENCE)
        if self.failure:
            raise self.failure
        return self._install(3)

    def report(self, received: int, total: int) -> None:
        assert self._started.wait(PATIENCE)
        self._report(received, total)


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch, install: Install) -> Iterator[FakeFetch]:
    fake = FakeFetch(install)
    monkeypatch.setattr(fetch, "fetch_model", fake)
    yield fake
    fake.go_on.set()


class FakeAdapting:
    """Stands for `adapt_to_file`: waits until it may go on."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.go_on = threading.Event()
        self.failure: Exception | None = None

    def __call__(
        self,
        settings: Settings,
        labelled: LabelledTable,
        start: str,
        name: str,
        on_stage: Callable[[str], None],
        sha256: str,
    ) -> Adapted:
        self.asked.append((dict(labelled.map.codes), start, name, sha256))
        on_stage("learning")
        assert self.go_on.wait(PATIENCE)
        if self.failure:
            raise self.failure
        labels = np.array([0, 1] * 20, dtype=np.int8)
        right = evaluate(labels, np.where(labels == 1, 0.8, 0.1))
        figures = Figures(metrics=right, low=0.5, high=0.75)
        return Adapted(
            start=start,
            texts=40,
            held_out="each of 40 texts, held out once",
            figures={"start": figures, "scratch": figures, "adapted": figures},
            learnt="adapted",
            scale=1.0,
            C=3.0,
            ratios=False,
            curve=[],
            model_id="m-1",
            cached_id="reviews-v2",
            messages=["Labels: <b>bad</b>."],
            warnings=["Are the two swapped?"],
            seconds=1.0,
        )


@pytest.fixture
def adapting(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdapting]:
    fake = FakeAdapting()
    monkeypatch.setattr(adapt, "adapt_to_file", fake)
    yield fake
    fake.go_on.set()


LABELLED = "body,stars\ngood,5\nbad,1\n"


def teach(client: Client, content: str = LABELLED, htmx: bool = True, **fields: str) -> Response:
    return client.post(
        "/admin/adaptation",
        files={"file": ("mine.csv", content)},
        data={"name": "mine", "start": "base", **fields},
        headers=HTMX if htmx else {},
    )


def adaptation(client: Client) -> str:
    return unescape(client.get("/admin/adaptation", headers=HTMX).text)


class TestAdaptation:
    def test_is_compared_and_can_be_activated(
        self, signed_in: Client, adapting: FakeAdapting
    ) -> None:
        part = teach(signed_in)
        assert part.text.lstrip().startswith('<div id="adaptation"')
        assert 'hx-trigger="every 700ms"' in part.text
        wait_for(lambda: "Learning…" in adaptation(signed_in))
        assert "Another file is being learnt from" in unescape(teach(signed_in).text)

        adapting.go_on.set()
        wait_for(lambda: "every 700ms" not in adaptation(signed_in))
        ended = signed_in.get("/admin/adaptation", headers=HTMX)
        assert json.loads(ended.headers["hx-trigger"]) == {"adaptation-ended": {}}
        found = adaptation(signed_in)
        assert re.findall(r'<th scope="row">(.+)</th>', found) == [
            "base",
            "From scratch",
            "Adapted",
        ]
        assert "50.0 to 75.0 %" in found
        assert "On each of 40 texts, held out once" in found
        assert "Cross-validation chose base and these texts together." in found
        assert "Are the two swapped?" in found
        assert "&lt;b&gt;bad" in ended.text
        assert 'action="/admin/models/reviews-v2/activate"' in found
        sha256 = hashlib.sha256(LABELLED.encode()).hexdigest()
        assert adapting.asked == [({"1": 0, "5": 1}, "base", "mine", sha256)]

    def test_without_javascript(self, signed_in: Client, adapting: FakeAdapting) -> None:
        page = teach(signed_in, htmx=False)
        assert page.history[0].headers["location"] == "/admin#adapt"
        assert 'http-equiv="refresh"' in page.text
        adapting.go_on.set()
        wait_for(lambda: "From scratch" in signed_in.get("/admin").text)
        assert 'http-equiv="refresh"' not in signed_in.get("/admin").text

    @pytest.mark.parametrize(
        ("content", "fields", "said"),
        [
            (LABELLED, {"name": " "}, "Give the model a name"),
            ("body,stars\na,x\nb,y\n", {}, "“What the labels mean”"),
            ("body,stars\na,1\nb,5\n", {"label_column": "9"}, "no column"),
            ("body\na\n", {}, "label"),
            ("", {}, "is empty"),
            ("body,stars\n" + "a,1\nb,5\n" * 2_100, {}, "more than 4,000 labels"),
            ("a,1\n" * 10_000, {}, "20,000 bytes"),
        ],
    )
    def test_a_file_that_cannot_be_learnt_from_is_refused(
        self,
        signed_in: Client,
        adapting: FakeAdapting,
        content: str,
        fields: dict[str, str],
        said: str,
    ) -> None:
        answer = unescape(teach(signed_in, content, **fields).text)
        assert said in answer
        assert "flash-failed" in answer
        assert adapting.asked == []

    @pytest.mark.parametrize(
        ("failure", "said"),
        [
            (errors.TrainingError("too few to learn from"), "too few to learn from"),
            (errors.StorageError("/srv/models is full"), "(a path of the server) is full"),
            (ValueError("secret detail"), "the log has the details"),
        ],
    )
    def test_a_failure_is_said(
        self, signed_in: Client, adapting: FakeAdapting, failure: Exception, said: str
    ) -> None:
        adapting.failure = failure
        adapting.go_on.set()
        teach(signed_in)
        wait_for(lambda: said in adaptation(signed_in))
        assert "secret detail" not in adaptation(signed_in)

    def test_that_of_a_killed_worker_is_given_up(
        self, signed_in: Client, app: Litestar, adapting: FakeAdapting
    ) -> None:
        teach(signed_in)
        with app.state.services.shared.writing() as database:
            database.execute("UPDATE adaptation SET worker = ?", (2**22 + 1,))
        assert "Its process has ended. Send the file again." in adaptation(signed_in)
        teach(signed_in)
        assert "every 700ms" in adaptation(signed_in)

    def test_strangers_are_not_admitted(self, client: Client, adapting: FakeAdapting) -> None:
        assert teach(client).status_code in (401, 403)
        assert adapting.asked == []


class TestFetches:
    def test_two_admins_fetch_once(self, signed_in: Client, fetches: FakeFetch) -> None:
        form = {"model_name": "reviews", "model_version": "3"}
        for _ in range(2):
            answer = signed_in.post("/admin/fetches", data=form, headers=HTMX)
        assert "being fetched already" in answer.text
        fetches.go_on.set()
        wait_for(lambda: "reviews-v3 is fetched." in signed_in.get("/admin/fetches").text)
        assert len(fetches.asked) == 1

    def test_activating_as_well_is_another_fetch(
        self, signed_in: Client, fetches: FakeFetch
    ) -> None:
        form = {"model_name": "reviews", "model_version": "3"}
        signed_in.post("/admin/fetches", data=form)
        signed_in.post("/admin/fetches", data={**form, "set_default": "yes"})
        fetches.go_on.set()
        wait_for(lambda: "is fetched and active." in signed_in.get("/admin/fetches").text)
        assert len(fetches.asked) == 2

    @pytest.mark.parametrize(
        ("failure", "said"),
        [
            (errors.RegistryUnavailableError("The registry does not answer"), "does not answer"),
            (errors.RegistryAuthError("The registry refused the user 'me'"), "refused the user"),
            (errors.StorageError("The disk is full"), "The disk is full"),
            (errors.UnsafeModelError("It is a pickle"), "It is a pickle"),
            (ValueError("secret detail"), "the log has the details"),
        ],
    )
    def test_a_failed_fetch_is_explained(
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
        fetches: Fetches = app.state.services.fetches
        fetches._begin(FetchRequest("reviews"))
        with app.state.services.shared.writing() as database:
            database.execute("UPDATE fetches SET worker = ?", (2**22 + 1,))

        (lost,) = fetches.recent()
        assert (lost.state, lost.message) == ("failed", "Its process has ended. Fetch it again.")

    def test_only_the_last_fetches_are_kept(self, app: Litestar) -> None:
        fetches: Fetches = app.state.services.fetches
        for number in range(20):
            fetches._end(fetches._begin(FetchRequest(f"model-{number}")), "done", "")
        assert [fetch.name for fetch in fetches.recent()] == [
            f"model-{number}" for number in (19, 18, 17, 16, 15)
        ]

    @pytest.mark.parametrize(
        ("version", "alias", "said"),
        [(3, None, "m, version 3"), (None, "champion", "m@champion"), (None, None, "m")],
    )
    def test_a_fetch_is_named_by_model_and_version(
        self, version: int | None, alias: str | None, said: str
    ) -> None:
        assert Fetch(1, "m", version, alias, False, "done", 0, None, "").wanted == said


class TestRegistry:
    def test_it_lists_the_models_of_the_registry(self, signed_in: Client, offered: object) -> None:
        part = signed_in.get("/admin/registry", headers=HTMX).text
        assert part.count('<th scope="row">reviews</th>') == 2
        assert part.count("<strong>91.5 %</strong>") == 3
        assert "No version yet" in part

    def test_an_empty_registry_names_the_command(
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
    def test_an_error_of_the_registry_is_a_message(
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

    def test_a_slow_registry_is_asked_once_and_times_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, go_on = [], threading.Event()

        def wait(self: Registry) -> list[RegisteredModel]:
            asked.append(1)
            assert go_on.wait(PATIENCE)
            return []

        monkeypatch.setattr(Registry, "models", wait)
        monkeypatch.setattr(registry, "GRACE_SECONDS", 0.0)

        async def ask() -> None:
            listing = RegistryListing(MLflow(timeout=0.05))
            for _ in range(3):
                start = time.monotonic()
                with pytest.raises(errors.RegistryUnavailableError, match="has not answered"):
                    await listing.models()
                assert time.monotonic() - start < PATIENCE
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
        activity: Activity = app.state.services.activity
        for _ in range(3):
            activity.sample()
        with app.state.services.shared.writing() as database:
            (count,) = database.execute("SELECT count(*) FROM minutes").fetchone()
        assert count <= 2

    def test_a_failed_switch_is_shown(self, settings: Settings, install: Install) -> None:
        install(1, name="broken", activate=True)
        app = create_app(settings, load_counting_scorer)
        with TestClient(app) as client:
            session = app.state.services.sessions.open("admin")
            client.cookies.set(
                SESSION_COOKIE, str(app.state.services.sessions.cookie(session, False).value)
            )
            assert "broken-v1 is damaged" in client.get("/admin").text

    def test_a_damaged_entry_can_be_removed(self, signed_in: Client, cache: ModelCache) -> None:
        (cache.folder / "reviews-v2" / "entry.json").write_text("{")
        page = signed_in.get("/admin").text
        assert "reviews-v2 cannot be used" in page

        signed_in.post("/admin/models/reviews-v2/remove")
        assert not (cache.folder / "reviews-v2").exists()

    def test_an_unusable_state_folder_is_a_message(self, signed_in: Client, app: Litestar) -> None:
        file = app.state.services.shared.folder / "state.db"
        file.unlink()
        file.mkdir()
        with pytest.raises(errors.StorageError, match="cannot be used"):
            app.state.services.shared.use_link("x") or app.state.services.fetches.recent()
        answer = signed_in.get("/admin/fetches")
        assert answer.status_code == 507
        assert signed_in.post("/api/v1/inference/predict", json={"text": "good"}).status_code == 200


def test_sqlite_waits_for_other_workers(app: Litestar) -> None:
    """Writers of several processes take turns and do not fail."""
    shared = app.state.services.shared
    blocker = sqlite3.connect(
        shared.folder / "state.db", isolation_level=None, check_same_thread=False
    )
    blocker.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.2, blocker.rollback)
    end.start()
    with shared.writing():
        assert not blocker.in_transaction
    end.join()
    blocker.close()

"""Access, fetching and following in a service with two workers."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Settings
from pipelines.workflows.register import register
from tests.integration.test_server import PREDICT, answering, ready
from tests.integration.tracked import Tracked, log_model
from tests.serving import Service, client, install_linear, serve
from tests.support import PATIENCE, wait_for


@pytest.fixture(scope="module")
def root(tracked: Tracked) -> Path:
    """A project with a linear model that answers and a registry that offers another one."""
    root = tracked.settings.root
    register(tracked.settings, "shared", tracked.model_id, alias="champion")
    install_linear(root / "models", 1, 1.0)
    ModelCache(root / "models").activate("reviews-v1")
    return root


@pytest.fixture(scope="module")
def service(root: Path) -> Iterator[Service]:
    # The proxy of the test is this machine.
    proxies = {"OLENS_SERVING__TRUSTED_PROXIES": '["127.0.0.1"]'}
    with serve(root, "--workers", "2", env=proxies) as service:
        yield service


def test_the_link_signs_in_once(service: Service) -> None:
    link = re.search(r"http\S+/admin/link/\S+", service.log.read_text())
    assert link
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(link[0], timeout=PATIENCE), range(16)))

    assert sorted(answer.status_code for answer in answers) == [303] + [403] * 15
    (entered,) = (answer for answer in answers if answer.status_code == 303)

    def page() -> httpx.Response:
        return httpx.get(f"{service.url}/admin", cookies=dict(entered.cookies), timeout=PATIENCE)

    # The link is there as soon as one worker answers.
    wait_for(lambda: "<dt>Workers</dt><dd>2</dd>" in page().text)
    assert {page().status_code for _ in range(8)} == {200}


def test_guessing_ends_whichever_worker_is_asked(service: Service) -> None:
    # A client of its own, so that the others are not throttled.
    header = {"Authorization": "Bearer wrong", "X-Forwarded-For": "192.0.2.1"}
    url = f"{service.url}/api/v1/models/registry"
    found = [httpx.get(url, headers=header, timeout=PATIENCE).status_code for _ in range(12)]
    assert found == [401] * 5 + [429] * 7

    other = {**header, "X-Forwarded-For": "192.0.2.2"}
    assert httpx.get(url, headers=other, timeout=PATIENCE).status_code == 401


def test_a_trusted_proxy_says_that_the_browser_came_by_https(service: Service) -> None:
    for scheme in ("http", "https"):
        headers = {"X-Forwarded-Proto": scheme}
        form = {"secret": service.token}
        answer = httpx.post(f"{service.url}/sign-in", data=form, headers=headers, timeout=PATIENCE)
        assert ("secure" in answer.headers["set-cookie"].lower()) is (scheme == "https")


def test_a_foreign_name_is_refused(service: Service) -> None:
    answer = httpx.get(service.url, headers={"Host": "evil.example"}, timeout=PATIENCE)
    assert answer.status_code == 400


def test_two_admins_at_once_are_one_download(root: Path, service: Service) -> None:
    header = {"Authorization": f"Bearer {service.token}"}

    def fetch(_: int) -> httpx.Response:
        body = {"model_name": "shared", "alias": "champion"}
        url = f"{service.url}/api/v1/models"
        return httpx.post(url, json=body, headers=header, timeout=PATIENCE)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(fetch, range(4)))

    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["fetched"] for answer in answers}) == 1
    assert httpx.delete(
        f"{service.url}/api/v1/models/shared-v1", headers=header, timeout=PATIENCE
    ).is_success
    assert answering(service.url) == {"reviews-v1"}


def test_a_killed_worker_is_replaced_while_the_other_answers(service: Service) -> None:
    wait_for(lambda: len(service.loaded) == 2)
    before = set(service.loaded)
    killed = min(before)
    wrong: list[str] = []
    answered: list[bool] = []
    stop, is_killed = threading.Event(), threading.Event()

    def ask() -> None:
        with client(service.url) as asking:
            while not stop.is_set():
                asked_after = is_killed.is_set()
                try:
                    answer = asking.post(PREDICT, json={"text": "any"})
                except httpx.TransportError:
                    # It was in the hands of the one that was killed.
                    continue
                if answer.status_code != 200:
                    wrong.append(answer.text)
                answered.append(asked_after)
                time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(answered) > 20)
        # It is asked twice a second whether it is alive; it ends before it answers.
        os.kill(killed, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(killed, signal.SIGKILL)
        is_killed.set()
        wait_for(lambda: "was killed by SIGKILL" in service.log.read_text(), seconds=30)
        wait_for(lambda: sum(answered) > 20)
        wait_for(lambda: set(service.loaded) - before)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert wrong == []
    (replacement,) = set(service.loaded) - before
    wait_for(lambda: answering(service.url) == {"reviews-v1"})
    os.kill(replacement, 0)


class TestFollowing:
    FOLLOW = "followed@champion"

    @pytest.fixture
    def following(self, root: Path) -> Iterator[Service]:
        follow = {"OLENS_SERVING__FOLLOW": self.FOLLOW, "OLENS_SERVING__FOLLOW_INTERVAL": "0.5"}
        with serve(root, "--workers", "2", env=follow) as service:
            yield service

    def test_it_follows_the_alias(self, tracked: Tracked, following: Service) -> None:
        settings = tracked.settings
        wait_for(lambda: "has no model 'followed'" in problem(following))
        assert answering(following.url) == {"reviews-v1"}

        for version in (1, 2):
            register(settings, "followed", tracked.model_id, alias="champion")
            # In each worker, the first model that is not linear takes scikit-learn's import.
            model = f"followed-v{version}"
            wait_for(lambda model=model: list(following.loaded.values()) == [model] * 2)
            assert answering(following.url) == {model}
        assert problem(following) == ""

        damaged = register_damaged(settings, tracked.folder)
        wait_for(lambda: "is not what was registered" in problem(following))
        status = ready(following.url)["following"]
        assert isinstance(status, dict)
        assert status["model"] == f"followed-v{damaged}"
        assert answering(following.url) == {"followed-v2"}
        assert (
            "opinionlens_following_ok 0.0"
            in httpx.get(f"{following.url}/metrics", timeout=PATIENCE).text
        )

        database = settings.root / "mlruns" / "mlflow.db"
        database.rename(database.with_suffix(".away"))
        wait_for(lambda: "Nothing has been registered" in problem(following))
        assert answering(following.url) == {"followed-v2"}
        database.with_suffix(".away").rename(database)
        wait_for(lambda: "is not what was registered" in problem(following))

        log = following.log.read_text()
        assert log.count("is not what was registered") <= 3
        assert "Traceback" not in log


def problem(service: Service) -> str:
    following = ready(service.url)["following"]
    assert isinstance(following, dict)
    return str(following["problem"] or "")


def register_damaged(settings: Settings, files: Path) -> int:
    """Register a model one byte of which changes afterwards; returns its version."""
    from mlflow import MlflowClient

    model_id, _ = log_model(settings, files)
    registered = register(settings, "followed", model_id)
    client = MlflowClient(settings.mlflow.tracking_uri, settings.mlflow.tracking_uri)
    location = client.get_logged_model(model_id).artifact_location
    file = Path(location.removeprefix("file://")) / "model.skops"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    client.set_registered_model_alias("followed", "champion", str(registered.version))
    return registered.version

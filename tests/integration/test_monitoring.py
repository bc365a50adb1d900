"""Metrics of the whole stack, what dashboards and rules make of them, and an alert that fires."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from opinionlens_server.observability.drift import ENOUGH
from tests.integration.stack import DEPLOY, ELSEWHERE, Stack
from tests.serving import Service
from tests.support import PATIENCE

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

API: Final = "/api/v1/inference"

BOARDS: Final = {
    path.stem: json.loads(path.read_text()) for path in DEPLOY.glob("grafana/dashboards/*.json")
}
NOT_RUN: Final = ("traefik",)
"""Dashboards whose metrics are not here: tests/deployment asks for these."""

PROMQL_WORDS: Final = {"and", "or", "unless", "offset"}


def use(service: Service) -> None:
    """Ask for a bit of everything, some of it wrong."""
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        for text in ("good, very good", "bad", "a film of some length, and fine " * 20):
            client.post(f"{API}/predict", json={"text": text}).raise_for_status()
            client.get(f"{API}/predict", params={"text": text}).raise_for_status()
        client.post(f"{API}/batch_predict", json=["good", "bad", "fine"]).raise_for_status()
        client.post(f"{API}/explain", json={"text": "good"}).raise_for_status()
        client.get("/").raise_for_status()
        assert client.post(f"{API}/predict", json={"text": ""}).status_code == 400


def eventually(look: Callable[[], Any], wanted: object = None) -> Any:
    """What `look` gives once that is `wanted` (or, without it, true)."""
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if seen == wanted or (wanted is None and seen) or time.monotonic() > deadline:
            return seen
        time.sleep(0.2)


def queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of panels and annotations, each with its PromQL."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']}: {target['legendFormat']}", target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def metrics_of(promql: str) -> set[str]:
    """Names of the metrics that a query reads."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|on) \([^)]*\)', " ", promql)
    # What a bracket follows is a function.
    return set(re.findall(r"\b[a-zA-Z_][\w:]*+(?!\s*\()", bare)) - PROMQL_WORDS


@pytest.fixture(scope="module")
def used(running_stack: Stack) -> Stack:
    """A stack that has a backup to tell of, a service that follows the registry, and texts."""
    stamp = f"opinionlens_backup_last_success_timestamp_seconds {time.time()}\n"
    (running_stack.folder / "backups/metrics/backup.prom").write_text(stamp)
    followed = {"name": "reviews", "version": "1"}

    def model() -> object:
        labels = [series["metric"] for series in running_stack.query("opinionlens_model_info")]
        return labels and {name: labels[0][name] for name in followed}

    assert eventually(model, followed) == followed
    texts = ["a fine film"] * ENOUGH
    httpx.post(f"{running_stack.service.url}{API}/batch_predict", json=texts).raise_for_status()
    return running_stack


def test_every_target_is_up(used: Stack) -> None:
    def down() -> dict[str, str]:
        targets = used.get("targets")["activeTargets"]
        return {
            target["labels"]["job"]: target["lastError"]
            for target in targets
            if target["health"] != "up" and target["labels"]["job"] not in ELSEWHERE
        }

    assert eventually(down, {}) == {}
    jobs = {target["labels"]["job"] for target in used.get("targets")["activeTargets"]}
    assert jobs == {
        *("app", "inference", "node", "postgres", "prometheus", "alertmanager"),
        *ELSEWHERE,
    }


def test_inferences_are_stored_once(used: Stack) -> None:
    use(used.service)

    def jobs() -> set[str]:
        found = used.query('{__name__=~"(model_inference|input_text|batch_|predicted).+"}')
        return {series["metric"]["job"] for series in found}

    assert eventually(jobs) == {"inference"}


@pytest.mark.parametrize("name", sorted(set(BOARDS) - set(NOT_RUN)))
def test_every_query_of_a_dashboard_gives_figures(used: Stack, name: str) -> None:
    def without_figures() -> dict[str, str]:
        use(used.service)
        return {
            panel: promql
            for panel, promql in queries(BOARDS[name])
            if not has_figures(used, promql)
        }

    assert eventually(without_figures, {}) == {}


def has_figures(stack: Stack, promql: str) -> bool:
    """Whether a query gives numbers."""
    result = stack.query(promql.replace("$__rate_interval", "10s"))
    return any(series["value"][1] != "NaN" for series in result)


def test_every_rule_is_evaluated_and_reads_metrics_that_exist(used: Stack) -> None:
    use(used.service)

    def state() -> dict[str, str]:
        return {rule["name"]: rule["health"] for rule in rules(used) if rule["health"] != "ok"}

    def recorded() -> list[str]:
        names = {rule["name"] for rule in rules(used) if rule["type"] == "recording"}
        return sorted(name for name in names if not has_figures(used, name))

    assert eventually(state, {}) == {}
    assert eventually(recorded, []) == []
    known = set(used.get("label/__name__/values"))
    missing = set().union(*(metrics_of(rule["query"]) for rule in rules(used))) - known
    assert {name for name in missing if not name.startswith("traefik_")} == set()


def rules(stack: Stack) -> list[dict[str, Any]]:
    return [rule for group in stack.get("rules")["groups"] for rule in group["rules"]]


def test_a_stopped_service_raises_an_alert(used: Stack) -> None:
    def told() -> dict[str, Any]:
        return {alert["labels"]["alertname"]: alert for alert in used.alerts()}

    assert "OpinionLensDown" not in told()
    used.service.stop()

    assert eventually(lambda: "OpinionLensDown" in told())
    alert = told()["OpinionLensDown"]
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["runbook"] == "deploy/RUNBOOK.md#opinionlensdown"
    assert [receiver["name"] for receiver in alert["receivers"]] == ["operator"]


def test_one_cause_is_one_message(used: Stack) -> None:
    """The stopped service of the test before gives no figures about inference either."""

    def state() -> list[str]:
        return [
            alert["status"]["state"]
            for alert in used.alerts()
            if alert["labels"].get("job") == "inference"
        ]

    assert eventually(state, ["suppressed"]) == ["suppressed"]

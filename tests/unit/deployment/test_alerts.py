"""Prometheus' and Alertmanager's configuration, as their own tools and readers see it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from opinionlens_server.observability.metrics import INFERENCE
from tests.support import program

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
PROMETHEUS: Final = DEPLOY / "prometheus"


def run(tool: str, *arguments: str | Path) -> None:
    """Run a tool; it must succeed."""
    command = [str(program(tool)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> Iterator[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules/alerts.yml").read_text())["groups"]
    return (rule for group in groups for rule in group["rules"])


def test_prometheus_accepts_its_configuration() -> None:
    run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_alertmanager_accepts_its_configuration() -> None:
    run("amtool", "check-config", DEPLOY / "alertmanager/alertmanager.yml")


@pytest.mark.parametrize("receiver", ["slack_configs", "email_configs"])
def test_the_receivers_that_are_described_can_be_taken_over(receiver: str, tmp_path: Path) -> None:
    """Webhooks by `url_file` are newer than Debian's Alertmanager, which cannot check them."""
    changed = tmp_path / "alertmanager.yml"
    changed.write_text(with_receiver(receiver))

    run("amtool", "check-config", changed)
    assert receiver in yaml.safe_load(changed.read_text())["receivers"][0]


def with_receiver(receiver: str) -> str:
    """Alertmanager's configuration with one of the receivers that its comments describe."""
    text = (DEPLOY / "alertmanager/alertmanager.yml").read_text()
    described = re.search(rf"^#(   {receiver}:\n(#     .*\n)+)", text, re.MULTILINE)
    assert described
    return text + " " + described[1].replace("\n#", "\n ")


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda f: f.stem)
def test_rules_fire_when_they_should(file: Path) -> None:
    run("promtool", "test", "rules", file)


def test_every_alert_is_tested() -> None:
    tests = "".join(path.read_text() for path in (PROMETHEUS / "tests").glob("*.yml"))

    assert {alert["alert"] for alert in alerts() if alert["alert"] not in tests} == set()


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    headings = set(re.findall(r"^## (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE))
    names = {alert["alert"] for alert in alerts()}

    assert headings == names
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}
        assert alert["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{alert['alert'].lower()}"


def test_inference_is_stored_from_one_address_only() -> None:
    """/metrics and /api/v1/metrics both tell about it."""
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    app = next(job for job in jobs if job["job_name"] == "app")
    (rule,) = app["metric_relabel_configs"]

    assert rule["action"] == "drop"
    named = re.fullmatch(r"\((.+)\)_\.\+", rule["regex"])
    assert named
    assert set(named[1].split("|")) == INFERENCE
    assert next(job for job in jobs if job["job_name"] == "inference")["metrics_path"] == (
        "/api/v1/metrics"
    )

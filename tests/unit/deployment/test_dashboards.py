"""The dashboards as Grafana reads them."""

from __future__ import annotations

import json
import math
import re
from itertools import combinations
from typing import Any, Final

import pytest
import yaml

from deploy.grafana.dashboards import FOLDER, render
from tests.unit.deployment.test_alerts import alerts

RENDERED: Final = render()
BOARDS: Final = {name: json.loads(text) for name, text in RENDERED.items()}

each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_the_files_are_those_that_the_code_writes() -> None:
    written = {path.name: path.read_text() for path in FOLDER.glob("*.json")}

    assert written == RENDERED, "deploy/grafana/dashboards is stale: `make dashboards`"


def test_there_are_five_dashboards_with_distinct_addresses() -> None:
    assert sorted(board["title"] for board in BOARDS.values()) == [
        *("HTTP", "Inference", "Node", "PostgreSQL", "Traefik")
    ]
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@each_board
def test_time_range_and_annotations_are_the_same_on_all(board: dict[str, Any]) -> None:
    first = BOARDS["inference.json"]
    for key in ("time", "refresh", "timezone", "tags", "links", "annotations", "graphTooltip"):
        assert board[key] == first[key]
    assert board["time"] == {"from": "now-6h", "to": "now"}
    assert board["schemaVersion"] >= 41
    assert not board["editable"]
    assert [query["name"] for query in board["annotations"]["list"]] == ["Model", "Alerts"]


@each_board
def test_panels_are_numbered_and_stand_side_by_side(board: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]

    assert len({panel["id"] for panel in board["panels"]}) == len(places)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]
    # Nor are there holes: rows of panels are as wide as the page.
    area = sum(place["w"] * place["h"] for place in places)
    assert area == 24 * max(place["y"] + place["h"] for place in places)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@each_board
def test_every_panel_says_what_it_shows(board: dict[str, Any]) -> None:
    for panel in panels(board):
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        if panel["type"] == "timeseries":
            assert all(target["legendFormat"] != "__auto" for target in panel["targets"])
            assert panel["options"]["legend"]["calcs"] == ["lastNotNull", "max"]


@each_board
def test_every_query_goes_to_the_provisioned_data_source(board: dict[str, Any]) -> None:
    file = FOLDER.parent / "provisioning/datasources/prometheus.yml"
    sources = {
        source["uid"]: source["type"] for source in yaml.safe_load(file.read_text())["datasources"]
    }
    asked = [
        query["datasource"] for panel in panels(board) for query in (panel, *panel["targets"])
    ] + [query["datasource"] for query in board["annotations"]["list"]]

    assert {source["uid"] for source in asked} == {"prometheus"}
    assert all(sources[source["uid"]] == source["type"] for source in asked)


@each_board
def test_red_panels_have_an_alert(board: dict[str, Any]) -> None:
    limits = {
        math.prod(map(float, number.split("*")))
        for alert in alerts()
        for number in re.findall(r"[<>]=? (\d[\d.]*(?: \* [\d.]+)*)", alert["expr"])
    }
    for panel in panels(board):
        if panel["title"] != "Alerts":
            _, *steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert {step["value"] for step in steps} <= limits, panel["title"]


def test_the_provider_reads_the_folder_that_compose_mounts() -> None:
    provider = yaml.safe_load(
        (FOLDER.parent / "provisioning/dashboards/opinionlens.yml").read_text()
    )
    compose = yaml.safe_load((FOLDER.parents[1] / "compose.yaml").read_text())

    path = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in compose["services"]["grafana"]["volumes"]

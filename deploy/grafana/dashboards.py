"""Write the dashboards as JSON for Grafana: ``python -m deploy.grafana.dashboards``.

They use those metrics that the exporters of the images and of Debian have in common. What is red
in them is what `deploy/prometheus/rules/alerts.yml` alerts about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.boards.http import HTTP
from deploy.grafana.boards.inference import INFERENCE
from deploy.grafana.boards.node import NODE
from deploy.grafana.boards.postgresql import POSTGRESQL
from deploy.grafana.boards.traefik import TRAEFIK
from deploy.grafana.panels import lay_out

FOLDER: Final = Path(__file__).parent / "dashboards"


def render() -> dict[str, str]:
    """The JSON files by their names."""
    encoder = JSONEncoder(sort_keys=True, indent=1)
    return {
        f"{board.title.lower()}.json": encoder.encode(lay_out(board)) + "\n"
        for board in (INFERENCE, HTTP, POSTGRESQL, NODE, TRAEFIK)
    }


if __name__ == "__main__":
    for name, text in render().items():
        (FOLDER / name).write_text(text)

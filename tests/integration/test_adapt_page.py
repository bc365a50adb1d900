"""The admin page from a labelled file to a model that answers, in a service with two workers."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from tests.integration.test_adapt_command import labelled
from tests.serving import serve
from tests.support import PATIENCE, wait_for


def test_from_a_labelled_file_to_an_active_model(tmp_path: Path) -> None:
    rows = "\n".join(f'"{text}",{label}' for text, label in [("body", "label"), *labelled()])
    with (
        serve(tmp_path, "--workers", "2") as service,
        httpx.Client(base_url=service.url, timeout=PATIENCE) as client,
    ):
        client.post("/sign-in", data={"secret": service.token})
        client.post("/admin/adaptation", files={"file": ("mine.csv", rows)}, data={"name": "mine"})
        wait_for(lambda: "Learning from" not in client.get("/admin/adaptation").text)
        shown = client.get("/admin/adaptation").text
        assert "Cross-validation chose base and these texts together." in shown
        activate = re.search(r'action="(/admin/models/mine-v1/activate)"', shown)
        assert activate, shown
        client.post(activate[1])

        def answers() -> list[tuple[str, str]]:
            url = "/api/v1/inference/batch_predict"
            found = client.post(url, json=["My quimpish sofa", "My zorbly sofa"]).json()
            return [(each["model"], each["prediction"]) for each in found]

        expected = [("mine-v1", "NEGATIVE"), ("mine-v1", "POSITIVE")]
        wait_for(lambda: answers() == expected)

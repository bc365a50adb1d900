"""A receiver of alerts, set up as the comments of alertmanager.yml describe it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from tests.integration.services import answers, free_port, running
from tests.support import PATIENCE, program
from tests.unit.deployment.test_alerts import run, with_receiver


def test_an_alert_becomes_a_message(tmp_path: Path) -> None:
    with slack() as (address, messages):
        (tmp_path / "receiver").write_text(f"{address}\n")
        config = with_receiver("slack_configs").replace("group_wait: 30s", "group_wait: 1s")
        config = config.replace("/run/secrets/alert_receiver", str(tmp_path / "receiver"))
        (tmp_path / "alertmanager.yml").write_text(config)
        with alertmanager(tmp_path) as url:
            labels = ["alertname=OpinionLensDown", "severity=critical"]
            description = "--annotation=description=It does not answer."
            run("amtool", "alert", "add", *labels, description, f"--alertmanager.url={url}")
            message = messages.get(timeout=PATIENCE)

    assert message["channel"] == "#alerts"
    (attachment,) = message["attachments"]
    assert "OpinionLensDown" in attachment["title"]
    assert attachment["text"].startswith("It does not answer.")


@contextmanager
def slack() -> Iterator[tuple[str, Queue[dict[str, Any]]]]:
    """What Slack's side of a webhook does: keep what is posted."""
    messages: Queue[dict[str, Any]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/secret", messages
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(program("prometheus-alertmanager")), "--config.file=alertmanager.yml"]
    command += ["--storage.path=data", "--cluster.listen-address="]
    command += [f"--web.listen-address={url.removeprefix('http://')}"]
    with running(command, folder, lambda: answers(f"{url}/-/ready")):
        yield url

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from opinionlens_server.app import create_app
from opinionlens_server.observability.metrics import FOLDER_VARIABLE, INFERENCE
from pipelines.config.settings import Settings
from tests.support import wait_for
from tests.unit.server.conftest import Install, load_counting_scorer

PREDICT = "/api/v1/inference/predict"
BATCH = "/api/v1/inference/batch_predict"
Client = TestClient[Litestar]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(client: Client, path: str = "/metrics") -> Samples:
    """Every sample that is there, by name and labels."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found: Samples, sample: str, /, **labels: str) -> float:
    return found[sample, tuple(sorted(labels.items()))]


def test_inferences_are_counted(client: Client) -> None:
    client.post(PREDICT, json={"text": "good"})
    client.get(PREDICT, params={"text": "bad!"})
    client.post(BATCH, json=["good good", "bad", "bad"])
    client.post(BATCH, json=[])
    client.post("/api/v1/inference/explain", json={"text": "good"})
    found = samples(client, "/api/v1/metrics")

    assert value(found, "model_inference_time_seconds_count") == 3
    assert 0 < value(found, "model_inference_time_seconds_sum") < 1
    assert value(found, "input_text_length_chars_count") == 6
    assert value(found, "input_text_length_chars_sum") == 4 + 4 + 9 + 3 + 3 + 4
    assert value(found, "input_text_length_chars_bucket", le="10.0") == 6
    assert value(found, "batch_size_text_count") == 1
    assert value(found, "batch_size_text_sum") == 3
    assert value(found, "batch_inference_time_per_item_seconds_count") == 1
    assert value(found, "predicted_sentiment_total", sentiment="POSITIVE") == 3
    assert value(found, "predicted_sentiment_total", sentiment="NEGATIVE") == 3


def test_the_api_has_the_metrics_of_inference_only(client: Client) -> None:
    client.post(PREDICT, json={"text": "good"})
    families = {
        family.name for family in text_string_to_metric_families(client.get("/api/v1/metrics").text)
    }

    assert families == INFERENCE


def test_a_port_of_their_own_takes_them_off_the_others(
    settings: Settings, install: Install
) -> None:
    install(1, activate=True)
    serving = msgspec.structs.replace(settings.serving, metrics_port=8001)
    app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
    with TestClient(app, base_url="http://testserver.local:8000") as public:
        assert public.get("/health/ready").status_code == 200
        for path in ("/metrics", "/metrics/", "/api/v1/metrics", "/%2fmetrics", "/metrics%2f"):
            answer = public.get(path, headers={"Host": "testserver.local:8001"})
            assert answer.status_code == 404, path
        assert "metrics" not in str([route["path"] for route in public.get("/api/v1").json()])
        apart = TestClient(app, base_url="http://10.0.0.7:8001")
        assert value(samples(apart), "opinionlens_model_ready") == 1
        assert samples(apart, "/api/v1/metrics")
        assert apart.get("/health").status_code == 404


def test_buckets_fit_microseconds(client: Client) -> None:
    found = samples(client)
    bounds = sorted(
        float(dict(labels)["le"])
        for name, labels in found
        if name == "model_inference_time_seconds_bucket"
    )

    assert sum(bound <= 1e-3 for bound in bounds) >= 6
    assert bounds[0] <= 10e-6


def test_requests_are_counted_by_the_template_of_their_route(client: Client) -> None:
    client.get("/api/v1/models/reviews-v1")
    client.get("/api/v1/models/reviews-v2")
    client.get("/api/v1/models/nothing-v1")
    client.post(PREDICT, json={"text": ""})
    found = samples(client)

    def count(method: str, route: str, status: str) -> float:
        labels = {"method": method, "route": route, "status": status}
        return value(found, "http_requests_total", **labels)

    assert count("GET", "/api/v1/models/{model_id}", "200") == 2
    assert count("GET", "/api/v1/models/{model_id}", "404") == 1
    assert count("POST", PREDICT, "400") == 1
    route = {"method": "GET", "route": "/api/v1/models/{model_id}"}
    assert value(found, "http_request_duration_seconds_count", **route) == 3


def test_methods_and_paths_of_clients_are_no_label_values(client: Client) -> None:
    for number in range(30):
        client.get(f"/made-up-{number}?text=canary")
        client.request(f"MADEUP{number}", "/")
        client.get(f"/static/made-up-{number}")
    found = samples(client)

    made_up = [key for key in found if "made-up" in str(key).lower() or "MADEUP" in str(key)]
    assert made_up == []
    assert value(found, "http_requests_total", method="GET", route="unmatched", status="404") == 30
    assert sum(v for (n, _), v in found.items() if n == "http_requests_total") >= 90


def test_metrics_of_the_model_and_the_cache(client: Client, admin: dict[str, bytes]) -> None:
    before = samples(client)
    client.put("/api/v1/models/active", json={"id": "reviews-v2"}, headers=admin)
    after = samples(client)

    info = {"id": "reviews-v1", "name": "reviews", "version": "1"}
    assert value(before, "opinionlens_model_info", **info) == 1
    info = {"id": "reviews-v2", "name": "reviews", "version": "2"}
    assert value(after, "opinionlens_model_info", **info) == 1
    assert value(after, "opinionlens_model_ready") == 1
    assert value(after, "opinionlens_model_cache_models") == 2
    assert value(after, "opinionlens_model_cache_bytes") > 0
    switched = "opinionlens_model_last_switch_timestamp_seconds"
    assert value(after, switched) > value(before, switched) > 1.7e9


def test_metrics_without_a_model(empty_client: Client) -> None:
    found = samples(empty_client)

    assert value(found, "opinionlens_model_ready") == 0
    assert not [name for name, _ in found if name == "opinionlens_model_info"]


def test_metrics_of_a_refused_model_and_of_the_one_that_stays(
    client: Client, install: Install
) -> None:
    before = samples(client)
    install(1, name="broken", activate=True)
    wait_for(lambda: value(samples(client), "opinionlens_model_refused") == 1)
    after = samples(client)

    assert value(before, "opinionlens_model_refused") == 0
    assert value(after, "opinionlens_model_info", id="reviews-v1", name="reviews", version="1") == 1
    switched = "opinionlens_model_last_switch_timestamp_seconds"
    assert value(after, switched) == value(before, switched)


def test_metrics_of_the_workers(client: Client) -> None:
    found = samples(client)

    assert value(found, "opinionlens_workers") == 1
    if Path("/proc/self/smaps_rollup").exists():
        assert 10e6 < value(found, "opinionlens_memory_bytes") < 10e9


def test_fetches_are_counted(client: Client, admin: dict[str, bytes]) -> None:
    assert (
        client.post("/api/v1/models", json={"model_name": "no"}, headers=admin).status_code >= 400
    )

    assert value(samples(client), "opinionlens_model_fetches_total", outcome="failed") == 1


@pytest.mark.parametrize("length", [3, 10_000])
def test_two_services_do_not_share_numbers(
    settings: Settings, install: Install, length: int
) -> None:
    install(1, activate=True)
    serving = msgspec.structs.replace(settings.serving, max_text_length=length)
    for _ in range(2):
        app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
        with TestClient(app) as client:
            client.post(PREDICT, json={"text": "bad"})
            found = samples(client)
        assert value(found, "predicted_sentiment_total", sentiment="NEGATIVE") == 1


WORKER = """
from opinionlens_server.models.active import ActiveModel
from opinionlens_server.observability.metrics import Metrics
from pipelines.cache.model_cache import ModelCache
import sys
from pathlib import Path

metrics = Metrics(ActiveModel(ModelCache(Path(sys.argv[1])), lambda entry: None))
for _ in range(int(sys.argv[2])):
    metrics.observe_text("POSITIVE", 7, 20e-6)
    metrics.observe_request("GET", "/", 200, 1e-3)
metrics.observe_batch(["NEGATIVE"] * 3, [1, 2, 3], 60e-6)
print(metrics.render().decode())
"""


def test_workers_add_up_even_those_that_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()

    def work(times: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", WORKER, str(tmp_path / "models"), str(times)],
            env={**os.environ, FOLDER_VARIABLE: str(folder)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert '\npredicted_sentiment_total{sentiment="POSITIVE"} 2.0\n' in work(2)
    text = work(5)

    assert '\npredicted_sentiment_total{sentiment="POSITIVE"} 7.0\n' in text
    assert '\npredicted_sentiment_total{sentiment="NEGATIVE"} 6.0\n' in text
    assert "\nmodel_inference_time_seconds_count 7.0\n" in text
    assert '\nhttp_requests_total{method="GET",route="/",status="200"} 7.0\n' in text
    assert "pid=" not in text

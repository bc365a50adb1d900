"""The service with models of three, five and twenty classes."""

from __future__ import annotations

import csv
import io
from html import escape

import pytest
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from pipelines.config.settings import Settings
from pipelines.labels import Classes, shown_name
from tests.classes import SENTIMENTS, TOPICS, fused
from tests.unit.server.conftest import Install

STARS = Classes(("1", "2", "3", "4", "5"), ordered=True)
SPAM = Classes(("wanted", "<b>spam</b>"), ordered=False)
EVERY = [SENTIMENTS, STARS, TOPICS, SPAM]
TEXT = {"text": "word1x1 word1x2 the plot. And word0x1 was it."}


@pytest.fixture(params=EVERY, ids=["3", "5", "20", "2"])
def classes(request: pytest.FixtureRequest) -> Classes:
    found = request.param
    assert isinstance(found, Classes)
    return found


@pytest.fixture
def client(settings: Settings, install: Install, classes: Classes) -> TestClient:
    install(1, activate=True)
    return TestClient(create_app(settings, lambda entry: fused(classes=classes)))


def test_an_answer_has_the_probability_of_each_class(client: TestClient, classes: Classes) -> None:
    with client:
        found = client.post("/api/v1/inference/predict", json=TEXT).json()
        several = client.post("/api/v1/inference/batch_predict", json=[TEXT["text"], " "]).json()
        about = client.get("/api/v1/about").json()
    assert found["prediction"] == classes.names[1]
    assert list(found["probabilities"]) == list(classes.names) == about["labels"]
    assert found["confidence"] == max(found["probabilities"].values())
    assert several == [found, {"error": "empty text", "evidence": "none"}]


def test_an_explanation_is_about_the_two_likeliest(client: TestClient, classes: Classes) -> None:
    with client:
        found = client.post("/api/v1/inference/explain", json=TEXT).json()
    each = found["per_class"]
    assert each["classes"] == list(classes.names)
    assert found["prediction"] in (each["low"], each["high"])
    total = found["bias"] + sum(word["contribution"] for word in found["words"])
    assert total == pytest.approx(found["margin"])


def test_the_page_names_the_classes_and_escapes_them(client: TestClient, classes: Classes) -> None:
    with client:
        page = client.post("/", data=TEXT).text
    assert f"Which of {len(classes.names)} classes is it?" in page
    assert "How likely each class is" in page
    assert ("Expected place between" in page) == classes.ordered
    assert "<b>spam</b>" not in page
    assert "For positive" not in page


def test_a_file_gets_a_column_for_each_class(client: TestClient, classes: Classes) -> None:
    content = f"text\n{TEXT['text']}\n\nword0x1 word0x2\n".encode()
    with client:
        files = {"file": ("a.csv", content)}
        page = client.post("/file", files=files).text
        rows = client.post("/file/download", files=files).text
    read = list(csv.DictReader(io.StringIO(rows)))
    assert [row["prediction"] for row in read] == [classes.names[1], "", classes.names[0]]
    assert read.pop(1)["evidence"] == "none"
    for row in read:
        shares = [float(row[f"probability {name}"]) for name in classes.names]
        assert sum(shares) == pytest.approx(1, abs=1e-4)  # files have six digits
        assert max(shares) == float(row["confidence"])
    assert f'<dt dir="auto">{escape(shown_name(classes.names[1]))}</dt><dd>1</dd>' in page


def test_predictions_are_counted_by_class(client: TestClient, classes: Classes) -> None:
    with client:
        client.post("/api/v1/inference/predict", json=TEXT)
        metrics = client.get("/metrics").text
    assert f'predicted_sentiment_total{{sentiment="{classes.names[1]}"}} 1.0' in metrics

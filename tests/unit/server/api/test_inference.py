from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient
from numpy.typing import NDArray

from opinionlens_server.app import create_app
from pipelines.config.settings import Settings
from tests.unit.server.conftest import CountingScorer

PREDICT = "/api/v1/inference/predict"
BATCH = "/api/v1/inference/batch_predict"
Client = TestClient[Litestar]


def ask_both_ways(client: Client, text: str) -> list[Response]:
    return [client.post(PREDICT, json={"text": text}), client.get(PREDICT, params={"text": text})]


def sigmoid(margin: float) -> float:
    return float(1 / (1 + np.exp(-margin)))


@pytest.mark.parametrize(
    ("text", "label", "confidence"),
    [("good", "POSITIVE", sigmoid(1.1)), ("bad bad", "NEGATIVE", sigmoid(1.9))],
)
def test_get_and_post_answer_alike(
    client: Client, text: str, label: str, confidence: float
) -> None:
    posted = client.post(PREDICT, json={"text": text})
    got = client.get(PREDICT, params={"text": text})

    assert posted.status_code == got.status_code == 200
    assert posted.json() == got.json()
    assert posted.json()["prediction"] == label
    assert posted.json()["confidence"] == pytest.approx(confidence)
    assert posted.json()["model"] == "reviews-v1"


def test_unicode_arrives_whole_either_way(client: Client) -> None:
    text = "größer 👍🏽 太好了 good & more = 100 % + plus"
    answers = [
        client.post(PREDICT, json={"text": text}),
        client.get(PREDICT, params={"text": text}),
    ]

    assert [answer.json()["confidence"] for answer in answers] == pytest.approx([sigmoid(1.1)] * 2)


def test_json_is_read_whatever_the_content_type_says(client: Client) -> None:
    # `curl -d` without a header sends this type.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post(PREDICT, content=b'{"text": "good"}', headers=form)

    assert answer.json()["prediction"] == "POSITIVE"


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_a_text_without_words_is_refused_with_a_reason(client: Client, text: str) -> None:
    for answer in (
        client.post(PREDICT, json={"text": text}),
        client.get(PREDICT, params={"text": text}),
    ):
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert "empty" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"text": "\xff\xfe"}', "UTF-8"),
        (rb'{"text": "\ud800"}', "pairs"),
        (rb'{"text": "a\udc00b"}', "pairs"),
        (b'{"text": "a', "JSON"),
        (b"", "no body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b"{}", "text"),
        (b'{"text": 3}', "text: expected `str`"),
        (b'{"text": null}', "text: expected `str`"),
    ],
)
def test_a_broken_body_is_the_clients_error(client: Client, body: bytes, said: str) -> None:
    answer = client.post(PREDICT, content=body)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_a_missing_query_parameter_is_named(client: Client) -> None:
    answer = client.get(PREDICT)

    assert answer.status_code == 400
    assert "'text'" in answer.json()["detail"]


@pytest.mark.parametrize(("length", "status"), [(1000, 200), (1001, 413)])
def test_the_length_of_a_text_is_limited(client: Client, length: int, status: int) -> None:
    for answer in (
        client.post(PREDICT, json={"text": "x" * length}),
        client.get(PREDICT, params={"text": "x" * length}),
        client.post(BATCH, json=["good", "x" * length]),
    ):
        assert answer.status_code == status
        if status == 413:
            assert "1,000" in answer.json()["detail"]


@pytest.mark.parametrize(("size", "status"), [(20_000, 200), (20_001, 413)])
def test_the_size_of_a_body_is_limited(client: Client, size: int, status: int) -> None:
    body = b'["good"]'.ljust(size)

    answer = client.post(BATCH, content=body)

    assert answer.status_code == status
    if status == 413:
        assert "20,000 bytes" in answer.json()["detail"]


def test_the_size_is_limited_without_a_content_length(client: Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    assert client.post(BATCH, content=chunks()).status_code == 413


@pytest.mark.parametrize(("count", "status"), [(5, 200), (6, 413)])
def test_the_length_of_a_batch_is_limited(client: Client, count: int, status: int) -> None:
    assert client.post(BATCH, json=["good"] * count).status_code == status


def test_a_batch_keeps_its_order(client: Client) -> None:
    answers = client.post(BATCH, json=["good", "bad", "good good", "bad"]).json()

    assert [a["prediction"] for a in answers] == ["POSITIVE", "NEGATIVE", "POSITIVE", "NEGATIVE"]
    assert [a["confidence"] for a in answers] == pytest.approx(
        [sigmoid(1.1), sigmoid(0.9), sigmoid(2.1), sigmoid(0.9)]
    )


def test_a_batch_answers_as_single_predictions_do(client: Client) -> None:
    texts = ["good", "bad", "neither"]
    singles = [client.post(PREDICT, json={"text": text}).json() for text in texts]

    assert client.post(BATCH, json=texts).json() == singles


def test_an_empty_batch_is_an_empty_answer(client: Client) -> None:
    answer = client.post(BATCH, json=[])

    assert (answer.status_code, answer.json()) == (200, [])


def test_a_blank_text_in_a_batch_is_answered_at_its_index(client: Client) -> None:
    answer = client.post(BATCH, json=["good", " ", "bad", ""])

    assert answer.status_code == 200
    first, blank, third, last = answer.json()
    assert blank == last == {"error": "empty text", "evidence": "none"}
    assert (first["prediction"], third["prediction"]) == ("POSITIVE", "NEGATIVE")


def test_an_answer_says_how_strong_the_evidence_is(client: Client) -> None:
    def evidence(text: str) -> str:
        return str(client.post(PREDICT, json={"text": text}).json()["evidence"])

    assert evidence("good good good so good") == "clear"
    assert evidence("good and bad or so") == "weak"
    assert client.post(PREDICT, json={"text": "good"}).json()["known"] is None


OTHERS = (b'"good"', b'{"text": "good"}', b'["good", 1]', b"", rb'["\ud800"]', b'["\xff"]')


@pytest.mark.parametrize("body", OTHERS)
def test_bodies_other_than_lists_of_texts_are_refused(
    client: Client, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post(BATCH, content=body).status_code == 400
    _take_for_large(monkeypatch)
    assert client.post(BATCH, content=body).status_code == 400


def test_a_large_batch_is_answered_as_a_small_one_is(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = (["good", "bad", "", "so so"], ["good", 1], ["x" * 1001], ["good"] * 6)
    small = [client.post(BATCH, json=body) for body in bodies]
    _take_for_large(monkeypatch)
    for body, expected in zip(bodies, small, strict=True):
        answer = client.post(BATCH, json=body)
        assert answer.status_code == expected.status_code
        if answer.is_success:
            assert answer.json() == expected.json()
        else:
            assert answer.json()["detail"] == expected.json()["detail"]


def _take_for_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("http.requests", "security.guards"):
        monkeypatch.setattr(f"opinionlens_server.{module}.LARGE", -1)


def test_without_a_model_the_answer_says_what_to_do(empty_client: Client) -> None:
    for answer in (
        empty_client.post(PREDICT, json={"text": "good"}),
        empty_client.get(PREDICT, params={"text": "good"}),
        empty_client.post(BATCH, json=["good"]),
    ):
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "olens fetch NAME --activate" in answer.json()["detail"]
        assert "olens quickstart" in answer.json()["detail"]


class FailingScorer(CountingScorer):
    """Works while it is tried out, then fails."""

    def predict(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        if "secret" in texts[0]:
            raise RuntimeError(f"no table for {texts[0]}")
        return super().predict(texts)


def test_an_unexpected_error_is_logged_without_the_text(
    settings: Settings, install: object, app: Litestar, caplog: pytest.LogCaptureFixture
) -> None:
    failing = create_app(settings, lambda entry: FailingScorer(0))
    with (
        TestClient(failing, raise_server_exceptions=False) as client,
        caplog.at_level(logging.DEBUG),
    ):
        answer = client.post(PREDICT, json={"text": "my secret diary"})

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    failed = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert failed.getMessage() == "A request failed: RuntimeError"
    assert "test_inference.py" in failed.trace  # type: ignore[attr-defined]
    assert "in predict" in failed.trace  # type: ignore[attr-defined]
    for record in caplog.records:
        assert "diary" not in str(record.__dict__)
    assert "diary" not in answer.text

from __future__ import annotations

import threading

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from pipelines.config.settings import Settings
from pipelines.inference.explanation import Explanation
from tests.support import PATIENCE
from tests.unit.server.conftest import CountingScorer, Install

EXPLAIN = "/api/v1/inference/explain"
PREDICT = "/api/v1/inference/predict"
Client = TestClient[Litestar]


def test_the_answer_is_that_of_predict_with_its_reasons(client: Client) -> None:
    text = "👍🏽 A good start. Then bad, bad luck."
    answer = client.post(EXPLAIN, json={"text": text}).json()
    predicted = client.post(PREDICT, json={"text": text}).json()

    assert {name: answer[name] for name in predicted} == predicted
    words = {word["text"]: word for word in answer["words"]}
    assert words["good"]["contribution"] > 0 > words["bad"]["contribution"]
    for word in answer["words"]:
        assert text[word["start"] : word["end"]] == word["text"]
    assert [sentence["prediction"] for sentence in answer["sentences"]] == ["POSITIVE", "NEGATIVE"]


def test_long_lists_are_encoded_in_pieces(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        (EXPLAIN, {"text": "A good start. Then bad, bad luck. " * 9}),
        ("/api/v1/inference/batch_predict", ["good", "", "bad", "good", "good"]),
    ]
    whole = [client.post(path, json=body).json() for path, body in asked]
    monkeypatch.setattr("opinionlens_server.models.predictor.AT_ONCE", 2)
    assert [client.post(path, json=body).json() for path, body in asked] == whole


@pytest.mark.parametrize(("length", "status"), [(1000, 200), (1001, 413), (0, 400)])
def test_the_limits_are_those_of_predict(client: Client, length: int, status: int) -> None:
    assert client.post(EXPLAIN, json={"text": "x" * length}).status_code == status


def test_without_a_model_the_answer_says_what_to_do(empty_client: Client) -> None:
    answer = empty_client.post(EXPLAIN, json={"text": "good"})

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


def test_modules_for_explanations_are_loaded_after_the_start(
    settings: Settings, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = threading.Event()

    class Scorer(CountingScorer):
        def explain(self, text: str) -> Explanation:
            explained.set()
            raise RuntimeError("cannot explain, which is no reason not to predict")

    monkeypatch.setattr("opinionlens_server.models.predictor.WARM_UP_SECONDS", 0)
    install(1, activate=True)
    with TestClient(create_app(settings, lambda entry: Scorer(0))) as client:
        assert explained.wait(PATIENCE)
        assert client.post(PREDICT, json={"text": "good"}).status_code == 200


class TestPage:
    def test_words_are_marked_by_side_and_strength(self, client: Client) -> None:
        page = client.post("/", data={"text": "good, <b>bad</b>"}, headers={"HX-Request": "true"})

        assert '<mark class="word word-positive word-2"' in page.text
        assert '<mark class="word word-negative word-2"' in page.text
        assert "&lt;b&gt;" in page.text

    def test_a_verdict_without_evidence_says_so(self, client: Client) -> None:
        def page(text: str) -> str:
            return client.post("/", data={"text": text}, headers={"HX-Request": "true"}).text

        assert "Not enough to go by" in page("12 345")
        assert "Weak evidence" in page("good and bad")
        assert "Not enough" not in page("good")

    def test_sentences_have_their_own_verdicts(self, client: Client) -> None:
        page = client.post("/", data={"text": "All good. So bad."}, headers={"HX-Request": "true"})

        assert "Sentence by sentence" in page.text
        assert page.text.count('<li class="verdict-positive">') == 1
        assert page.text.count('<li class="verdict-negative">') == 1

    def test_a_single_sentence_is_not_listed(self, client: Client) -> None:
        page = client.post("/", data={"text": "All good."}, headers={"HX-Request": "true"})

        assert "Sentence by sentence" not in page.text

    def test_a_text_without_any_known_word_has_no_lists(self, client: Client) -> None:
        page = client.post("/", data={"text": "xyz"}, headers={"HX-Request": "true"})

        assert page.status_code == 200
        assert "For positive" not in page.text

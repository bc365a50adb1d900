from __future__ import annotations

import threading

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.marking import SHOWN_CHARACTERS, Part, parts
from pipelines.inference.explanation import Explanation, Word
from pipelines.settings import Settings
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


@pytest.mark.parametrize(("length", "status"), [(1000, 200), (1001, 413), (0, 400)])
def test_the_limits_are_those_of_predict(client: Client, length: int, status: int) -> None:
    assert client.post(EXPLAIN, json={"text": "x" * length}).status_code == status


def test_without_a_model_the_answer_says_what_to_do(empty_client: Client) -> None:
    answer = empty_client.post(EXPLAIN, json={"text": "good"})

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_the_first_explanation_needs_is_loaded_before(
    settings: Settings, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = threading.Event()

    class Scorer(CountingScorer):
        def explain(self, text: str) -> Explanation:
            explained.set()
            raise RuntimeError("cannot explain, which is no reason not to predict")

    monkeypatch.setattr("opinionlens_server.inference.WARM_UP_SECONDS", 0)
    install(1, activate=True)
    with TestClient(create_app(settings, lambda entry: Scorer(0))) as client:
        assert explained.wait(timeout=10)
        assert client.post(PREDICT, json={"text": "good"}).status_code == 200


class TestPage:
    def test_words_are_marked_by_side_and_strength(self, client: Client) -> None:
        page = client.post("/", data={"text": "good, <b>bad</b>"}, headers={"HX-Request": "true"})

        assert '<mark class="word word-positive word-3"' in page.text
        assert '<mark class="word word-negative word-3"' in page.text
        assert "&lt;b&gt;" in page.text

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


class TestParts:
    def test_they_are_the_text(self) -> None:
        text = "so good,\nnot bad"
        words = [
            Word(0, 2, "so", 0.0, 0),
            Word(3, 7, "good", 0.5, 3),
            Word(13, 16, "bad", -0.2, -1),
        ]

        assert parts(text, words) == [
            Part("so "),
            Part("good", 3, 0.5),
            Part(",\nnot "),
            Part("bad", -1, -0.2),
        ]

    @pytest.mark.parametrize("strength", [0, 2])
    def test_a_long_text_is_cut(self, strength: int) -> None:
        text = "word " * 10_000
        words = [Word(at, at + 4, "word", 0.1, strength) for at in range(0, len(text), 5)]

        assert "".join(part.text for part in parts(text, words)) == text[:SHOWN_CHARACTERS]

    def test_a_text_without_words_is_shown_as_it_is(self) -> None:
        assert parts("…", []) == [Part("…")]

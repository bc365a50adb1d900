"""More than two classes: one table, exact explanations, and two classes as they ever were."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal

from pipelines.errors import CorruptModelError
from pipelines.inference import linear_scorer
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.inference.packing import pack, unpack
from pipelines.inference.pipeline_scorer import PipelineScorer
from pipelines.labels import Classes
from pipelines.text.buffers import text_buffer
from tests.classes import SENTIMENTS, TOPICS, corpus, fitted, fused
from tests.unit.inference.test_linear_scorer import fused as fused_binary
from tests.unit.text.strategies import texts
from tests.unit.training.fitted import LINEAR, SUBJECTS

SPAM = Classes(("wanted", "spam"), ordered=False)


@pytest.mark.parametrize("classes", [SENTIMENTS, TOPICS], ids=["3", "20"])
@pytest.mark.parametrize("subject", LINEAR)
def test_probabilities_are_those_of_the_pipeline(subject: str, classes: Classes) -> None:
    several = [*corpus(classes, 100, seed=7)[0], "", "nothing known"]
    labels, probabilities = fused(subject, classes).predict(several)
    pipeline = fitted(subject, classes)
    assert_allclose(probabilities, pipeline.predict_proba(several), atol=1e-6)
    assert labels == pipeline.predict(several).tolist()
    assert_allclose(probabilities.sum(axis=1), 1)


@given(text=texts(8))
def test_one_text_is_judged_as_many_are(text: str) -> None:
    scorer = fused()
    (alone,), several = scorer.judge([text]), scorer.judge([text, "other"])
    assert alone == several[0]
    assert_array_equal(scorer.predict([text])[1][0], alone.probabilities)
    assert alone.confidence == max(alone.probabilities)


@pytest.mark.parametrize("subject", ["nbsvm", "linear_svc"])
@given(text=texts(8))
def test_two_classes_are_the_general_case_to_the_last_bit(subject: str, text: str) -> None:
    scorer = fused_binary(subject)
    column = scorer.weights[:, np.newaxis]
    arguments = list(scorer._arguments)
    arguments[5], arguments[8] = np.array([scorer.info.bias]), column
    margins, words = np.empty((1, 1)), np.empty((1, 2), dtype=np.int64)
    linear_scorer._margins(*text_buffer([text]), 0, 1, *arguments, margins, words)
    assert margins[0, 0] == scorer.margins([text])[0]
    (judged,) = scorer.judge([text])
    known = words[0, 1] / words[0, 0] if words[0, 0] else 0.0
    assert judged.known == known


@pytest.mark.parametrize("subject", LINEAR)
@given(text=texts(8))
def test_contributions_add_up_to_the_margin_of_each_class(subject: str, text: str) -> None:
    scorer = fused(subject)
    explanation = scorer.explain(text)
    each = explanation.per_class
    assert isinstance(each, msgspec.Struct)
    sums = np.sum(each.words, axis=0) + each.biases if each.words else np.array(each.biases)
    assert_allclose(sums, each.margins, atol=1e-9)
    assert_allclose(each.margins, scorer.margins([text])[0], atol=1e-9)
    parts = sum(word.contribution for word in explanation.words)
    assert explanation.bias is not None
    assert parts + explanation.bias == pytest.approx(explanation.margin, abs=1e-9)
    low, high = (each.classes.index(name) for name in explanation.poles)
    assert explanation.margin == pytest.approx(each.margins[high] - each.margins[low], abs=1e-9)
    assert explanation.prediction in explanation.poles


def test_an_ordered_explanation_is_along_the_scale() -> None:
    explanation = fused().explain("word0x1 word0x2 word1x1")
    assert explanation.prediction == "NEGATIVE"
    assert explanation.poles == ("NEGATIVE", "NEUTRAL")
    by_word = {word.text: word.contribution for word in explanation.words}
    assert by_word["word0x1"] < 0 < by_word["word1x1"]
    assert explanation.top_for[0].text.startswith("word0")


def test_without_an_order_what_speaks_for_the_prediction_is_above_0() -> None:
    explanation = fused(classes=TOPICS).explain("word1x1 word1x2 word0x3")
    assert explanation.poles[1] == explanation.prediction == "😀"
    assert explanation.words[0].contribution > 0


@pytest.mark.parametrize("subject", [name for name in SUBJECTS if name not in LINEAR])
def test_other_models_answer_and_explain_too(subject: str) -> None:
    scorer = PipelineScorer(fitted(subject))
    (judged,) = scorer.judge(["word2x1 word2x2 word2x3 the plot"])
    assert judged.prediction == "POSITIVE"
    assert sum(judged.probabilities) == pytest.approx(1)
    explanation = scorer.explain("word2x1 word2x2 word2x3 the plot")
    assert explanation.prediction in explanation.poles
    assert len(explanation.words) == 5


@pytest.mark.parametrize("classes", [SENTIMENTS, TOPICS, SPAM], ids=["3", "20", "2"])
def test_a_table_is_the_same_when_it_is_opened_again(classes: Classes, tmp_path: Path) -> None:
    scorer, several = fused(classes=classes), corpus(classes, 20)[0]
    scorer.save(tmp_path / "table")
    opened = LinearScorer.open(tmp_path / "table")
    assert opened.classes == classes
    assert_array_equal(opened.predict(several)[1], scorer.predict(several)[1])
    assert opened.judge(several[:1]) == scorer.judge(several[:1])
    pack(scorer, tmp_path / "packed", 10**9)
    assert unpack(tmp_path / "packed").predict(several)[0] == scorer.predict(several)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"biases": (0.0, 1.0)}, "not every class has a bias"),
        ({"classes": Classes(("a", "b"))}, "unexpected tensor"),
        ({"classes": Classes(("a", "a", "b"))}, "same name"),
        ({"classes": Classes(("a",))}, "1 classes"),
        ({"classes": msgspec.UNSET, "biases": msgspec.UNSET}, "unexpected tensor"),
    ],
)
def test_a_table_that_does_not_fit_its_classes_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    scorer = fused()
    # Without the checks of its constructor, as another program would write it.
    info = msgspec.structs.asdict(scorer.info) | change
    fields = {name: value for name, value in info.items() if value is not msgspec.UNSET}
    changed = LinearScorer(scorer.info, scorer.weights)
    changed.info = msgspec.defstruct("Info", list(fields))(**fields)  # type: ignore[assignment]
    changed.save(tmp_path / "table")
    with pytest.raises(CorruptModelError, match=message):
        LinearScorer.open(tmp_path / "table")


def test_two_classes_of_other_names_have_them_everywhere() -> None:
    scorer = fused(classes=SPAM)
    text = "word1x1 word1x2 the plot"
    (judged,) = scorer.judge([text])
    assert (judged.prediction, scorer.predict([text])[0]) == ("spam", ["spam"])
    assert judged.each[1] == judged.confidence > 0.5
    explanation = scorer.explain(text)
    assert explanation.poles == ("wanted", "spam")
    assert explanation.words[0].contribution > 0

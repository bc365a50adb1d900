"""A model that starts from another one is one table, like any other."""

import numpy as np
import pytest

from pipelines.base_model.opening import open_base
from pipelines.inference.adapting import LabelledTexts, as_start
from pipelines.inference.compiling import as_pipeline, fuse
from pipelines.inference.linear_scorer import LinearScorer
from tests.classes import fused

# Half of them in words that the start knows, half in words of their own.
GOOD = ["Proper zorbly {}, innit", "I love my {}", "Excellent {}, thank you", "This {} is zorbly"]
BAD = [
    "Proper quimpish {}, innit",
    "I hate my {}",
    "Awful {}, waste of money",
    "This {} is quimpish",
]
THINGS = ["jacket", "kettle", "gig", "chippy", "phone", "hotel", "bus", "film", "pub", "game"]
TEXTS = [phrase.format(thing) for thing in THINGS for phrase in GOOD + BAD]
POSITIVE = np.array([phrase in GOOD for _ in THINGS for phrase in GOOD + BAD])


@pytest.fixture(scope="module")
def start() -> LinearScorer:
    return open_base()


@pytest.fixture(scope="module")
def adapted(start: LinearScorer) -> LinearScorer:
    return LabelledTexts(start, TEXTS, POSITIVE).adapt(seed=0).scorer


def test_knows_the_words_of_the_labelled_texts(start: LinearScorer, adapted: LinearScorer) -> None:
    unseen = ["What a zorbly sofa", "What a quimpish sofa"]
    assert adapted.predict(unseen)[0] == ["POSITIVE", "NEGATIVE"]
    known, unknown = np.ptp(adapted.margins(unseen)), np.ptp(start.margins(unseen))
    assert known > unknown + 0.5


def test_still_knows_the_words_of_the_start(adapted: LinearScorer) -> None:
    texts = ["A wonderful holiday, excellent service", "A terrible holiday, awful service"]
    assert adapted.predict(texts)[0] == ["POSITIVE", "NEGATIVE"]


def test_features_times_weights_are_the_margins(adapted: LinearScorer) -> None:
    start = as_start(adapted, "adapted")
    features = start.features(start.hashed().transform(TEXTS))
    margins = features @ adapted.weights + adapted.bias
    np.testing.assert_allclose(margins, adapted.margins(TEXTS), atol=1e-6)


def test_explanations_add_up_to_the_margin(adapted: LinearScorer) -> None:
    explanation = adapted.explain(TEXTS[0])
    total = explanation.bias + sum(word.contribution for word in explanation.words)
    assert total == pytest.approx(adapted.margins(TEXTS[:1])[0], abs=1e-9)


def test_its_pipeline_answers_as_the_table_does(adapted: LinearScorer) -> None:
    pipeline = as_pipeline(adapted)
    expected = adapted.predict(TEXTS)[1]
    np.testing.assert_allclose(pipeline.predict_proba(TEXTS)[:, 1], expected, atol=1e-6)
    again = fuse(pipeline)
    assert again is not None
    np.testing.assert_allclose(again.predict(TEXTS)[1], expected, atol=1e-6)


def test_an_adapted_model_can_be_adapted_again(adapted: LinearScorer) -> None:
    texts = [f"{text} innit" for text in TEXTS]
    again = LabelledTexts(adapted, texts, POSITIVE).adapt(seed=0).scorer
    assert (np.array(again.predict(texts)[0]) == "POSITIVE").tolist() == POSITIVE.tolist()


def test_a_model_of_three_classes_learns_too() -> None:
    words = {0: "quimpish", 1: "plainly", 2: "zorbly"}
    phrases = [(f"the {word} {{}}", label) for label, word in words.items()]
    phrases += [(f"word{label}x1 word{label}x2 {{}}", label) for label in words]
    labels = np.array([label for _ in THINGS for _, label in phrases])
    texts = [phrase.format(thing) for thing in THINGS for phrase, _ in phrases]
    start = fused()
    adapted = LabelledTexts(start, texts, labels).adapt(seed=0).scorer
    unseen = ["the quimpish sofa", "the plainly sofa", "the zorbly sofa"]
    assert adapted.predict(unseen)[0] == list(start.classes.names)
    known = ["word0x3 word0x4", "word1x3 word1x4", "word2x3 word2x4"]
    assert adapted.predict(known)[0] == list(start.classes.names)

    again = fuse(as_pipeline(adapted))
    assert again is not None
    np.testing.assert_allclose(again.predict(texts)[1], adapted.predict(texts)[1], atol=1e-6)
    each = adapted.explain(unseen[0]).per_class
    assert each is not None
    sums = np.sum(each.words, axis=0) + np.array(each.biases)
    np.testing.assert_allclose(sums, adapted.margins(unseen[:1])[0], atol=1e-9)

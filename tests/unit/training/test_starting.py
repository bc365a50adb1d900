"""A subject that starts from another model."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.base_model.opening import open_base
from pipelines.config.params import Vectorizer
from pipelines.errors import TrainingError
from pipelines.inference.adapting import as_start
from pipelines.inference.compiling import fuse
from pipelines.labels import BINARY, SENTIMENTS, Classes
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_classifier, fit_pipeline, probabilities
from pipelines.training.starting import Start, kind_of, starting_from
from pipelines.training.subjects import get_subject
from tests.unit.inference.test_adapting import POSITIVE, TEXTS
from tests.unit.training.fitted import fitted_pipeline

WORDS = [a + b + c for a in "bcdfgklmnprst" for b in "aeiou" for c in "bdst"]
CHOSEN = {"scale": 1.0, "C": 3.0, "ratios": False}


@pytest.fixture(scope="module")
def start() -> Start:
    return as_start(open_base(), "base")


@pytest.fixture(scope="module")
def data(start: Start) -> Labelled:
    return Labelled(start.hashed().transform(TEXTS), POSITIVE.astype(np.int8))


def test_the_fitted_pipeline_is_one_table(start: Start, data: Labelled) -> None:
    subject = starting_from(start, "nbsvm")
    pipeline = fit_pipeline(subject, CHOSEN, 0, start.vectorizer, data)
    expected = probabilities(pipeline, data)
    assert ((expected >= 0.5) == POSITIVE).mean() > 0.95
    scorer = fuse(pipeline)
    assert scorer is not None
    np.testing.assert_allclose(scorer.predict(TEXTS)[1], expected, atol=1e-6)
    again = fit_classifier(subject, CHOSEN, 0, data)
    np.testing.assert_array_equal(again.predict_proba(data.counts)[:, 1], expected)
    assert again.predict(data.counts).tolist() == (expected >= 0.5).astype(np.int8).tolist()


def test_a_start_on_tf_idf(data: Labelled) -> None:
    scorer = fuse(fitted_pipeline("logistic_regression"))
    assert scorer
    start = as_start(scorer, "old")
    counts = start.hashed().transform(TEXTS)
    margins = start.features(counts) @ start.weights + start.bias
    np.testing.assert_allclose(margins, scorer.margins(TEXTS), atol=1e-5)
    labelled = Labelled(counts, data.labels)
    pipeline = fit_pipeline(starting_from(start, "nbsvm"), CHOSEN, 0, start.vectorizer, labelled)
    adapted = fuse(pipeline)
    assert adapted
    expected = pipeline.predict_proba(TEXTS)[:, 1]
    np.testing.assert_allclose(adapted.predict(TEXTS)[1], expected, atol=1e-6)


def test_what_is_not_given_is_chosen(start: Start, data: Labelled) -> None:
    subject = starting_from(start, "nbsvm")
    assert subject.choose
    given = subject.parameters({"scale": 0.0})
    chosen = subject.choose(given, 0, data)
    assert chosen["scale"] == 0.0
    assert chosen["C"]
    assert kind_of(start, chosen) == "scratch"
    assert {kind_of(start, rival) for rival in subject.rivals.values()} == {"start", "scratch"}


def test_the_start_as_it_is_only_calibrated(start: Start, data: Labelled) -> None:
    subject = starting_from(start, "nbsvm")
    fitted = fit_classifier(subject, subject.rivals["base"], 0, data)
    ranks = np.argsort(fitted.predict_proba(data.counts)[:, 1], kind="stable")
    margins = start.features(data.counts) @ start.weights
    np.testing.assert_allclose(margins[ranks], np.sort(margins), atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"C": -1.0}, "C must be 0 or more"), ({"scale": "big"}, "scale must be 0 or more")],
)
def test_wrong_parameters(
    start: Start, data: Labelled, parameters: dict[str, float | str], said: str
) -> None:
    subject = starting_from(start, "nbsvm")
    given = subject.parameters(parameters)
    with pytest.raises(TrainingError, match=said):
        fit_pipeline(subject, given, 0, start.vectorizer, data)
    assert subject.choose
    with pytest.raises(TrainingError, match=said):
        subject.choose(given, 0, data)


def test_texts_of_other_classes_are_refused(start: Start, data: Labelled) -> None:
    three = Labelled(data.counts, data.labels, Classes.declared(SENTIMENTS))
    with pytest.raises(TrainingError, match="base has NEGATIVE, POSITIVE"):
        fit_pipeline(starting_from(start, "nbsvm"), CHOSEN, 0, start.vectorizer, three)


def test_other_subjects_cannot_start(start: Start) -> None:
    with pytest.raises(TrainingError, match="--subject nbsvm"):
        starting_from(start, "linear_svc")


@pytest.mark.parametrize("classes", [BINARY, Classes.declared(SENTIMENTS)], ids=["two", "three"])
def test_with_ratios_it_is_the_subject_nbsvm(classes: Classes) -> None:
    """From scratch, with the same numbers, it says the same of unseen texts."""
    random = np.random.default_rng(0)
    vectorizer = Vectorizer(ngram_max=1, bits=12)
    number = len(classes.names)

    def texts(n: int) -> tuple[list[str], NDArray[np.int8]]:
        labels = random.integers(number, size=n).astype(np.int8)
        drawn = [random.integers(len(WORDS) - 60 * number, size=12) + 60 * each for each in labels]
        return [" ".join(WORDS[word] for word in row) for row in drawn], labels

    seen, labels = texts(600)
    unseen, _ = texts(400)
    labelled = Labelled(HashedNgramVectorizer(1, 12).transform(seen), labels, classes)
    subject = get_subject("nbsvm").for_classes(number)
    nbsvm = fit_pipeline(subject, subject.defaults, 0, vectorizer, labelled)
    expected = nbsvm.predict_proba(unseen)

    nothing = np.zeros(2**12 if classes.two else (2**12, number), dtype=np.float32)
    start = Start(
        name="nothing",
        vectorizer=vectorizer,
        classes=classes,
        terms="presence",
        weights=nothing,
        norms=np.empty(0, dtype=np.float32),
        bias=0.0 if classes.two else np.zeros(number),
        slope=1.0,
        offset=0.0,
    )
    same = starting_from(start, "nbsvm")
    parameters = same.rivals["from scratch"]
    assert parameters == {"scale": 0.0, "C": subject.defaults["C"], "ratios": True}
    pipeline = fit_pipeline(same, parameters, 0, vectorizer, labelled)
    found = pipeline.predict_proba(unseen)
    agreeing = found.argmax(axis=1) == expected.argmax(axis=1)
    assert agreeing.mean() > 0.98

"""More than two classes: fitting, calibration, rows that say nothing about a class, metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import cohen_kappa_score, f1_score

from pipelines.errors import CorruptModelError, DataError, ModelError, TrainingError
from pipelines.labels import Classes
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.calibration import SoftmaxCalibrated, fit_softmax
from pipelines.training.evaluation import evaluate
from pipelines.training.features import Labelled
from pipelines.training.figures import plot_data
from pipelines.training.fitting import fit_classifier, fit_pipeline, validation_metrics
from pipelines.training.persistence import classes_of, load_pipeline, save_model
from pipelines.training.soundness import check_arrays
from pipelines.training.subjects import get_subject
from tests.classes import SENTIMENTS, TOPICS, VECTORIZER, corpus, fitted, labelled
from tests.unit.training.fitted import SMALLER, SUBJECTS

NBSVM = get_subject("nbsvm")


@pytest.mark.parametrize("subject", SUBJECTS)
class TestEverySubject:
    def test_learns_the_rule_and_is_calibrated(self, subject: str) -> None:
        texts, labels = corpus(SENTIMENTS, 300, seed=2)
        pipeline = fitted(subject)
        found = pipeline.predict_proba(texts)
        assert pipeline.classes_.tolist() == list(SENTIMENTS.names)
        accuracy = np.mean(found.argmax(axis=1) == labels)
        assert accuracy > 0.8
        assert abs(found.max(axis=1).mean() - accuracy) < 0.15

    def test_bare_classifiers_can_be_scored(self, subject: str) -> None:
        found = get_subject(subject)
        parameters = found.parameters(SMALLER.get(subject, {}))
        classifier = fit_classifier(found, parameters, 0, labelled(SENTIMENTS, 200))
        metrics = validation_metrics(classifier, labelled(SENTIMENTS, 100, seed=1))
        assert {"accuracy", "f1", "f1_macro", "roc_auc", "mae", "kappa"} == set(metrics)
        assert metrics["kappa"] > 0.7 > metrics["mae"]

    def test_is_the_same_after_saving(self, subject: str, tmp_path: Path) -> None:
        pipeline, texts = fitted(subject), corpus(SENTIMENTS, 20)[0]
        save_model(pipeline, tmp_path / "model", "card", {}, texts[:1])
        again = load_pipeline(tmp_path / "model")
        assert classes_of(again) == SENTIMENTS
        # Threads add up the votes of trees in any order.
        assert_allclose(again.predict_proba(texts), pipeline.predict_proba(texts), rtol=1e-12)


def test_names_of_all_kinds_keep_their_order(tmp_path: Path) -> None:
    pipeline = fitted(classes=TOPICS)
    texts, labels = corpus(TOPICS, 200, seed=2)
    predicted = pipeline.predict(texts)
    assert np.mean(predicted == np.array(TOPICS.names)[labels]) > 0.9
    save_model(pipeline, tmp_path / "model", "card", {}, texts[:1])
    assert classes_of(load_pipeline(tmp_path / "model")) == TOPICS


def test_rows_that_could_not_have_a_class_are_no_evidence_against_it() -> None:
    """Half of the texts that look neutral stand in a data set that has no neutral rows."""
    texts, labels = corpus(SENTIMENTS, 600)
    extreme = np.arange(600) % 2 == 0
    forced = np.where(extreme & (labels == 1), 2 * (np.arange(600) // 2 % 2), labels)
    counts = HashedNgramVectorizer(VECTORIZER.ngram_max, VECTORIZER.bits).transform(texts)
    possible = np.ones((600, 3), dtype=bool)
    possible[extreme, 1] = False
    neutral = ["word1x1 word1x2 word1x3 the plot", "a meal word1x4 word1x5 was it"]

    def probability(given: np.ndarray | None) -> float:
        data = Labelled(counts, forced.astype(np.int8), SENTIMENTS, given)
        pipeline = fit_pipeline(NBSVM, NBSVM.parameters({}), 0, VECTORIZER, data)
        return float(pipeline.predict_proba(neutral)[:, 1].mean())

    assert probability(possible) > 0.8
    assert probability(None) < 0.65


def test_a_class_of_a_single_row_is_refused_by_name() -> None:
    data = labelled(SENTIMENTS, 60)
    keep = (data.labels != 1) | (np.cumsum(data.labels == 1) == 1)
    with pytest.raises(TrainingError, match="class NEUTRAL has 1 training texts; 2 or more"):
        fit_pipeline(NBSVM, NBSVM.parameters({}), 0, VECTORIZER, data[keep])


def test_a_class_of_three_rows_has_a_model() -> None:
    data = labelled(SENTIMENTS, 120)
    keep = (data.labels != 1) | (np.cumsum(data.labels == 1) <= 3)
    pipeline = fit_pipeline(NBSVM, NBSVM.parameters({}), 0, VECTORIZER, data[keep])
    found = pipeline.predict_proba(["word0x1 word0x2 the", ""])
    assert np.isfinite(found).all()
    assert pipeline.predict(["word0x1 word0x2 the"]) == ["NEGATIVE"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_softmax_is_found_whatever_the_scale(scale: float) -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(20_000, 3))
    logits = scores * [1.0, 2.0, 3.0] + [0.5, 0.0, -0.5]
    labels = (logits + draw.gumbel(size=logits.shape)).argmax(axis=1).astype(np.int8)
    coef, intercept = fit_softmax(scores * scale, labels, 3)
    found = scores * scale @ coef.T + intercept
    difference = (found - found[:, :1]) - (logits - logits[:, :1])
    assert np.abs(difference).mean() < 0.1


def test_a_damaged_model_of_several_classes_is_refused() -> None:
    calibrated = SoftmaxCalibrated(None, ["a", "b", "c"])
    calibrated.classes_ = np.array(["a", "b", "c"])
    calibrated.coef_, calibrated.intercept_ = np.zeros((2, 3)), np.zeros(3)
    with pytest.raises(CorruptModelError, match="coef_ has not 3 rows"):
        check_arrays(calibrated)


class TestMetrics:
    Y = np.array([0, 0, 1, 1, 2, 2, 2], dtype=np.int8)
    P = np.eye(3)[[0, 1, 1, 1, 2, 0, 2]] * 0.7 + 0.1

    def test_against_scikit_learn(self) -> None:
        found = evaluate(self.Y, self.P, SENTIMENTS)
        predicted = self.P.argmax(axis=1)
        assert found.accuracy == pytest.approx(5 / 7)
        assert found.f1_macro == pytest.approx(f1_score(self.Y, predicted, average="macro"))
        assert found.kappa == pytest.approx(
            cohen_kappa_score(self.Y, predicted, weights="quadratic")
        )
        assert found.mae == pytest.approx(3 / 7)
        assert found.classes["NEUTRAL"].precision == pytest.approx(2 / 3)
        assert found.ece == pytest.approx(0.8 - 5 / 7)
        assert found.positives is None

    def test_names_for_mlflow_are_plain(self) -> None:
        p = np.full((20, 20), 0.02) + np.eye(20) * 0.6
        names = evaluate(np.arange(20, dtype=np.int8), p, TOPICS).to_flat("test")
        assert names["test.class.1.f1"] == 1  # the emoji by its number
        assert "test.mae" not in names

    def test_a_class_that_does_not_occur(self) -> None:
        found = evaluate(self.Y[:4], self.P[:4], SENTIMENTS)
        assert found.classes["POSITIVE"].n == 0
        assert found.roc_auc is not None

    def test_what_does_not_fit_is_refused(self) -> None:
        with pytest.raises(DataError, match="0 to 2"):
            evaluate(np.array([3], np.int8), self.P[:1], SENTIMENTS)
        with pytest.raises(ModelError, match="probabilities for"):
            evaluate(self.Y, self.P[:, :2], SENTIMENTS)

    @pytest.mark.parametrize("classes", [SENTIMENTS, TOPICS], ids=["3", "20"])
    def test_figures_and_their_numbers(self, classes: Classes, tmp_path: Path) -> None:
        count = len(classes.names)
        y = np.arange(5 * count, dtype=np.int8) % count
        p = np.full((y.size, count), 0.2 / count) + np.eye(count)[y] * 0.8
        written = plot_data(y, p, tmp_path, classes)
        assert {path.suffix for path in written} == {".csv", ".png"}
        header = (tmp_path / "roc.csv").read_text().splitlines()[0]
        assert header == "fpr,tpr,threshold,class"


def test_margins_of_two_classes_of_other_names() -> None:
    spam = Classes(("wanted", "spam"), ordered=False)
    pipeline = fitted(classes=spam)
    assert pipeline.classes_.tolist() == ["wanted", "spam"]
    texts, labels = corpus(spam, 200, seed=3)
    assert np.mean((pipeline.predict_proba(texts)[:, 1] > 0.5) == labels) > 0.95
    assert_allclose(pipeline.predict_proba(texts).sum(axis=1), 1)

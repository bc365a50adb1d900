"""Subjects: names, parameters, search spaces, and fitting each of them."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from sklearn.utils.validation import check_is_fitted

from pipelines.errors import TrainingError
from pipelines.training.features import Labelled
from pipelines.training.fitting import (
    fit_classifier,
    fit_pipeline,
    probabilities,
    subset,
    validation_metrics,
)
from pipelines.training.subjects import Value, all_subjects, get_subject
from tests.unit.training.corpus import corpus, labelled
from tests.unit.training.fitted import SMALLER, SUBJECTS, VECTORIZER, fitted_pipeline

TRAIN = labelled(300, VECTORIZER)
VAL = labelled(100, VECTORIZER, seed=1)


def test_the_eight_subjects_are_there() -> None:
    assert list(all_subjects()) == SUBJECTS
    assert all(subject.summary for subject in all_subjects().values())


def test_an_unknown_subject_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"no subject 'xgboost'.*knn.*nbsvm"):
        get_subject("xgboost")


@pytest.mark.parametrize("name", SUBJECTS)
class TestEverySubject:
    def test_learns_the_rule_and_is_calibrated(self, name: str) -> None:
        pipeline = fitted_pipeline(name)
        texts, labels = corpus(300, seed=2)
        found = pipeline.predict_proba(texts)
        assert found.shape == (300, 2)
        assert ((found > 0) & (found < 1)).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert pipeline.classes_.tolist() == ["NEGATIVE", "POSITIVE"]
        accuracy = np.mean((found[:, 1] > 0.5) == labels)
        assert accuracy > 0.7
        # Calibrated: about as sure as it is right.
        assert abs(found.max(axis=1).mean() - accuracy) < 0.12

    def test_texts_without_any_known_ngram_have_an_answer(self, name: str) -> None:
        texts = ["", "zzz", "\x00", "\ud800", "😀" * 50]
        found = fitted_pipeline(name).predict_proba(texts)
        assert ((found > 0) & (found < 1)).all()

    def test_bare_classifiers_can_be_scored(self, name: str) -> None:
        subject = get_subject(name)
        parameters = subject.parameters(SMALLER.get(name, {}))
        classifier = fit_classifier(subject, parameters, 42, TRAIN)
        check_is_fitted(classifier)
        metrics = validation_metrics(classifier, VAL)
        assert set(metrics) == {"accuracy", "f1", "roc_auc"}
        assert all(0.6 < value <= 1 for value in metrics.values())

    def test_the_same_seed_gives_the_same_model(self, name: str) -> None:
        subject = get_subject(name)
        parameters = subject.parameters(SMALLER.get(name, {}))
        texts, _ = corpus(50, seed=3)
        again = fit_pipeline(subject, parameters, 42, VECTORIZER, labelled(400, VECTORIZER))
        # The forest adds up its trees in the order in which threads finish.
        np.testing.assert_allclose(
            again.predict_proba(texts), fitted_pipeline(name).predict_proba(texts), rtol=1e-9
        )

    def test_the_search_space_yields_valid_parameters(self, name: str) -> None:
        subject = get_subject(name)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(20):
            drawn = subject.suggest(study.ask())
            assert drawn.keys() <= subject.defaults.keys()
            complete = subject.parameters(drawn)
            assert complete.keys() == subject.defaults.keys()
            subject.build(complete, 0)

    def test_a_drawn_model_can_be_fitted(self, name: str) -> None:
        subject = get_subject(name)
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
        parameters = subject.parameters({**subject.suggest(trial), **SMALLER.get(name, {})})
        fit_classifier(subject, parameters, 0, TRAIN)

    def test_suggested_parameters_can_be_suggested_again(self, name: str) -> None:
        subject = get_subject(name)
        trial = optuna.create_study().ask()
        drawn = subject.suggest(trial)
        assert subject.suggest(optuna.trial.FixedTrial(trial.params)) == drawn

    def test_the_defaults_lie_in_the_search_space(self, name: str) -> None:
        subject = get_subject(name)
        drawn = subject.suggest(optuna.trial.FixedTrial(subject.defaults))
        assert drawn.items() <= subject.defaults.items()

    def test_an_unknown_parameter_is_an_error(self, name: str) -> None:
        with pytest.raises(TrainingError, match=f"{name} has no parameter 'c'; it has: "):
            get_subject(name).parameters({"c": 1})


@pytest.mark.parametrize(
    ("subject", "key", "value", "expected"),
    [
        ("nbsvm", "C", "big", "expects float"),
        ("nbsvm", "C", True, "expects float"),
        ("nbsvm", "C", None, "expects float"),
        ("nbsvm", "min_df", 2.5, "expects int"),
        ("nbsvm", "min_df", False, "expects int"),
        ("logistic_regression", "scheme", 3, "expects str"),
    ],
)
def test_a_parameter_of_a_wrong_type(subject: str, key: str, value: Value, expected: str) -> None:
    with pytest.raises(TrainingError, match=f"{key}={value!r}: {subject} {expected}"):
        get_subject(subject).parameters({key: value})


def test_a_whole_number_will_do_for_a_float() -> None:
    assert get_subject("nbsvm").parameters({"C": 2})["C"] == 2


@pytest.mark.parametrize(
    ("subject", "key", "value"),
    [
        ("nbsvm", "C", -1.0),
        ("nbsvm", "C", float("nan")),
        ("nbsvm", "smoothing", 0.0),
        ("nbsvm", "min_df", 0),
        ("nbsvm", "class_weight", "heavy"),
        ("logistic_regression", "C", -1.0),
        ("logistic_regression", "scheme", "bm25"),
        ("linear_svc", "C", 0.0),
        ("bagging_linear_svc", "n_estimators", 0),
        ("bagging_linear_svc", "max_samples", 2.0),
        ("complement_nb", "alpha", -1.0),
        ("knn", "n_neighbors", 0),
        ("knn", "n_neighbors", 10_000),
        ("knn", "weights", "heavy"),
        ("knn", "n_topics", 100_000),
        ("decision_tree", "max_depth", 0),
        ("random_forest", "n_estimators", -5),
    ],
)
def test_a_wrong_value_is_an_error_and_not_a_model(subject: str, key: str, value: Value) -> None:
    found = get_subject(subject)
    parameters = found.parameters({key: value})
    with pytest.raises(TrainingError):
        fit_pipeline(found, parameters, 0, VECTORIZER, TRAIN)


def test_several_classes_have_defaults_and_a_search_space_of_their_own() -> None:
    two = get_subject("nbsvm")
    several = two.for_classes(3)
    assert two.for_classes(2) is two
    assert several.defaults.keys() == two.defaults.keys()
    assert several.defaults["C"] != two.defaults["C"]
    drawn = several.suggest(optuna.trial.FixedTrial(several.defaults))
    assert drawn.items() <= several.defaults.items()


def test_one_class_only_is_an_error() -> None:
    alone = Labelled(TRAIN.counts, np.zeros_like(TRAIN.labels))
    subject = get_subject("nbsvm")
    with pytest.raises(TrainingError, match="nbsvm cannot be fitted"):
        fit_pipeline(subject, subject.parameters({}), 0, VECTORIZER, alone)


def test_balanced_classes_shift_the_verdict_to_the_rare_class() -> None:
    subject = get_subject("nbsvm")
    rare = subset_of_positives(labelled(600, VECTORIZER), 30)
    plain, balanced = (
        fit_classifier(subject, subject.parameters({"C": 0.01, "class_weight": weight}), 0, rare)
        for weight in ("none", "balanced")
    )
    assert balanced.predict(VAL.counts).sum() > plain.predict(VAL.counts).sum()


def subset_of_positives(data: Labelled, n: int) -> Labelled:
    rows = np.r_[np.flatnonzero(data.labels == 0), np.flatnonzero(data.labels == 1)[:n]]
    return Labelled(data.counts[rows], data.labels[rows])


class TestSubset:
    def test_takes_its_share_of_each_class_in_order(self) -> None:
        found = subset(TRAIN, 0.25)
        for label in (0, 1):
            assert (found.labels == label).sum() == round(0.25 * (TRAIN.labels == label).sum())
        assert found.counts.shape == (found.labels.size, TRAIN.counts.shape[1])

    def test_all_of_it(self) -> None:
        found = subset(TRAIN, 1.0)
        np.testing.assert_array_equal(found.labels, TRAIN.labels)
        assert (found.counts != TRAIN.counts).nnz == 0

    def test_keeps_one_of_a_class_at_least(self) -> None:
        tiny = Labelled(TRAIN.counts[:5], np.array([0, 1, 1, 1, 1], dtype=np.int8))
        assert sorted(subset(tiny, 0.01).labels) == [0, 1]


def test_probabilities_of_counts_are_those_of_their_texts() -> None:
    texts, _ = corpus(100, seed=1)
    pipeline = fitted_pipeline("nbsvm")
    np.testing.assert_array_equal(probabilities(pipeline, VAL), pipeline.predict_proba(texts)[:, 1])

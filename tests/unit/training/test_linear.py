"""The linear classifiers: scikit-learn's conventions, and its own solver as reference."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.naive_bayes import ComplementNB
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from pipelines.training.linear import BaggedLinearSVM, LinearComplementNB, LinearSVM

NEGATIVE_DATA = "its data are negative, which naive Bayes refuses, as ComplementNB does"
EXPECTED_FAILURES = {
    "LinearComplementNB": {
        "check_decision_proba_consistency": NEGATIVE_DATA,
        "check_classifier_not_supporting_multiclass": NEGATIVE_DATA,
    }
}


@parametrize_with_checks(
    # Of the weights of classes there are checks among them.
    [LinearSVM(), BaggedLinearSVM(n_estimators=3), LinearComplementNB()],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES.get(type(estimator).__name__, {}),
)
def test_keeps_the_conventions(estimator: LinearSVM, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def random_data(
    rows: int = 400, columns: int = 300, seed: int = 0
) -> tuple[sp.csr_matrix, NDArray[np.int64]]:
    """Sparse rows whose labels follow a noisy linear rule."""
    generator = np.random.default_rng(seed)
    X = sp.random(rows, columns, 0.05, format="csr", dtype=np.float32, rng=generator)
    margins = X @ generator.normal(size=columns) + 0.3 * generator.normal(size=rows)
    return X, (margins > np.quantile(margins, 0.4)).astype(np.int64)


class TestLinearSVM:
    @pytest.mark.parametrize(
        ("C", "class_weight"), [(0.1, None), (1.0, "balanced"), (16.0, {0: 2.0, 1: 0.5})]
    )
    def test_agrees_with_liblinear(self, C: float, class_weight: Any) -> None:
        X, y = random_data()
        ours = LinearSVM(C, class_weight, tol=1e-6, max_iter=5000, random_state=0).fit(X, y)
        theirs = LinearSVC(C=C, class_weight=class_weight, tol=1e-8, max_iter=100_000).fit(X, y)
        assert np.corrcoef(ours.coef_[0], theirs.coef_[0])[0, 1] > 0.9999
        assert_allclose(ours.intercept_, theirs.intercept_, atol=2e-3)
        assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=5e-3)
        certain = np.abs(theirs.decision_function(X)) > 5e-3
        assert_array_equal(ours.predict(X)[certain], theirs.predict(X)[certain])

    def test_the_default_tolerance_is_enough_to_agree_on_labels(self) -> None:
        X, y = random_data(2000)
        theirs = LinearSVC(tol=1e-8, max_iter=100_000).fit(X, y)
        ours = LinearSVM(random_state=0).fit(X, y)
        assert np.mean(ours.predict(X) == theirs.predict(X)) > 0.98

    def test_minimises_its_documented_objective(self) -> None:
        X, y = random_data()
        signs = 2 * y - 1
        fitted = LinearSVM(tol=1e-6, max_iter=5000, random_state=0).fit(X, y)
        w, b = fitted.coef_[0].astype(np.float64), fitted.intercept_[0]

        def objective(w: NDArray[np.float64], b: float) -> float:
            hinge = np.maximum(0, 1 - signs * (X @ w + b))
            return float((w @ w + b * b) / 2 + np.sum(hinge**2))

        best = objective(w, b)
        generator = np.random.default_rng(0)
        for _ in range(50):
            step = generator.normal(size=w.size + 1) * 1e-2
            assert objective(w + step[:-1], b + step[-1]) > best

    def test_labels_of_any_kind(self) -> None:
        X, y = random_data(100)
        words = np.array(["NEGATIVE", "POSITIVE"])[y]
        fitted = LinearSVM(random_state=0).fit(X, words)
        assert fitted.classes_.tolist() == ["NEGATIVE", "POSITIVE"]
        assert_array_equal(fitted.coef_, LinearSVM(random_state=0).fit(X, y).coef_)
        assert set(fitted.predict(X)) <= {"NEGATIVE", "POSITIVE"}

    def test_the_seed_decides(self) -> None:
        X, y = random_data(200)
        one, same, other = (LinearSVM(random_state=seed).fit(X, y).coef_ for seed in (1, 1, 2))
        assert_array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_empty_rows_and_columns(self) -> None:
        X, y = random_data(100)
        kept = np.arange(100) % 5 > 0
        X = sp.csr_matrix(sp.diags_array(kept.astype(np.float32)) @ X)
        X.eliminate_zeros()
        fitted = LinearSVM().fit(X, y)
        assert np.isfinite(fitted.coef_).all()
        assert (fitted.coef_[0, X.getnnz(axis=0) == 0] == 0).all()

    @pytest.mark.parametrize(
        "parameters",
        [{"C": 0}, {"C": -1.0}, {"C": np.nan}, {"C": np.inf}, {"tol": 0.0}, {"max_iter": 0}],
    )
    def test_refuses_wrong_parameters(self, parameters: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=f"{next(iter(parameters))} must be positive"):
            LinearSVM(**parameters).fit(*random_data(20))

    def test_refuses_more_or_less_than_two_classes(self) -> None:
        X, _ = random_data(30)
        with pytest.raises(ValueError, match="Got 3 classes"):
            LinearSVM().fit(X, np.arange(30) % 3)
        with pytest.raises(ValueError, match=r"Got 1 class\."):
            LinearSVM().fit(X, np.zeros(30))


class TestBaggedLinearSVM:
    def test_is_the_mean_of_machines_on_bootstrap_samples(self) -> None:
        X, y = random_data()
        bagged = BaggedLinearSVM(5, tol=1e-3, random_state=0).fit(X, y)
        seeds = np.random.RandomState(0).randint(2**31 - 1, size=5)
        coefs = []
        for seed in seeds:
            rows = np.sort(np.random.RandomState(seed).randint(400, size=400))
            machine = LinearSVC(tol=1e-5, max_iter=100_000).fit(X[rows], y[rows])
            coefs.append(machine.coef_[0])
        assert np.corrcoef(bagged.coef_[0], np.mean(coefs, axis=0))[0, 1] > 0.999

    def test_does_not_depend_on_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        X, y = random_data(200)
        many = BaggedLinearSVM(4, random_state=3).fit(X, y)
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        assert_array_equal(BaggedLinearSVM(4, random_state=3).fit(X, y).coef_, many.coef_)

    def test_a_rare_class_is_in_every_sample(self) -> None:
        X, _ = random_data(60)
        y = np.zeros(60, dtype=int)
        y[7] = 1
        assert np.isfinite(BaggedLinearSVM(8, 0.5, random_state=0).fit(X, y).coef_).all()

    @pytest.mark.parametrize(
        "parameters", [{"n_estimators": 0}, {"max_samples": 0.0}, {"max_samples": 1.5}, {"C": 0}]
    )
    def test_refuses_wrong_parameters(self, parameters: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(parameters))):
            BaggedLinearSVM(**parameters).fit(*random_data(20))


class TestLinearComplementNB:
    def test_agrees_with_complement_nb(self) -> None:
        X, y = random_data()
        ours, theirs = LinearComplementNB(alpha=0.3).fit(X, y), ComplementNB(alpha=0.3).fit(X, y)
        assert_array_equal(ours.predict(X), theirs.predict(X))
        assert_array_equal(ours.decision_function(X) > 0, theirs.predict(X) == 1)

    def test_the_margin_is_linear_and_the_log_odds(self) -> None:
        X, y = random_data()
        fitted = LinearComplementNB(alpha=0.3).fit(X, y)
        margins = fitted.decision_function(X)
        assert_allclose(margins, X @ fitted.coef_[0] + fitted.intercept_[0], atol=1e-6)
        proba = fitted.predict_proba(X)
        assert_allclose(margins, np.log(proba[:, 1]) - np.log(proba[:, 0]), atol=1e-6)

    def test_refuses_three_classes(self) -> None:
        X, _ = random_data(30)
        with pytest.raises(ValueError, match="Got 3 classes"):
            LinearComplementNB().fit(X, np.arange(30) % 3)

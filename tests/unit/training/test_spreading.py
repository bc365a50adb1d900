"""Rows spread over workers: the same models as of rows in one place (CoCoA+)."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from pipelines.config.params import Vectorizer
from pipelines.errors import TrainingError
from pipelines.text.vectorizer import TermWeighting
from pipelines.training.dual_descent import dual_coordinate_descent
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_classifier
from pipelines.training.linear import BaggedLinearSVM, DualLogisticRegression, LinearSVM
from pipelines.training.spreading import Ref, SpreadRows, spread
from pipelines.training.subjects import get_subject
from tests.classes import SENTIMENTS
from tests.classes import labelled as of_three_classes
from tests.unit.training.corpus import labelled, word_counts

SPACE = Vectorizer(ngram_max=2, bits=14)
EXACT: dict[str, Any] = {"tol": 1e-3, "max_iter": 500, "random_state": 0}


class ProcessWorkers:
    """Workers in this process, to which everything is sent as to others, and read-only."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.calls: list[str] = []

    def put(self, value: object) -> Ref:
        return _Sent(value)

    def call(
        self, work: Callable[..., object] | Ref, *given: object, returns: int = 1
    ) -> list[Ref]:
        here = [each.value() if isinstance(each, _Sent) else each for each in (work, *given)]
        found: Any = here[0](*here[1:])  # type: ignore[operator]
        self.calls.append(getattr(here[0], "__name__", type(here[0]).__name__))
        return [_Sent(found)] if returns == 1 else [_Sent(each) for each in found]

    def get(self, ref: Ref) -> object:
        assert isinstance(ref, _Sent)
        return ref.value()


class _Sent:
    def __init__(self, value: object) -> None:
        self._buffers: list[pickle.PickleBuffer] = []
        self._bytes = pickle.dumps(value, protocol=5, buffer_callback=self._buffers.append)

    def value(self) -> object:
        return pickle.loads(self._bytes, buffers=[bytes(each) for each in self._buffers])


def over(count: int, rows: sp.csr_matrix) -> SpreadRows:
    """The rows in parts for a number of workers."""
    make = partial(_some, rows)
    return spread(ProcessWorkers(count), make, *rows.shape)


def _some(rows: sp.csr_matrix, begin: int, end: int) -> sp.csr_matrix:
    return rows[begin:end]


@pytest.fixture
def data() -> Labelled:
    return labelled(600, SPACE)


class Problem:
    """Random sparse rows whose labels follow a noisy rule."""

    def __init__(self, rows: int, columns: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.X = sp.random(rows, columns, 0.1, format="csr", dtype=np.float32, rng=random)
        margins = self.X @ random.normal(size=columns) + 0.3 * random.normal(size=rows)
        self.signs = np.where(margins > np.median(margins), 1.0, -1.0)
        self.costs = random.uniform(0.05, 0.5, rows)
        self.start = random.normal(size=rows)

    def objective(self, w: NDArray[np.float32], b: float, logistic: bool) -> float:
        wide = w.astype(np.float64)
        margins = self.signs * (self.start + self.X @ wide + b)
        losses = np.logaddexp(0, -margins) if logistic else np.maximum(0, 1 - margins) ** 2
        return float((wide @ wide + b * b) / 2 + self.costs @ losses)

    def solve(
        self, X: sp.csr_matrix | SpreadRows, logistic: bool, tol: float = 1e-3
    ) -> tuple[NDArray[np.float32], float, int]:
        rows = np.arange(X.shape[0])
        return dual_coordinate_descent(
            X, rows, self.signs, self.costs, tol, 200, 7, start=self.start, logistic=logistic
        )


@settings(max_examples=25, deadline=None)
@given(
    n_rows=st.integers(2, 80),
    n_columns=st.integers(1, 60),
    count=st.integers(2, 9),
    seed=st.integers(0, 2**31),
    logistic=st.booleans(),
)
def test_parts_find_the_optimum_of_the_whole(
    n_rows: int, n_columns: int, count: int, seed: int, logistic: bool
) -> None:
    problem = Problem(n_rows, n_columns, seed)
    whole = problem.solve(problem.X, logistic)
    found = problem.solve(over(count, problem.X), logistic)
    best, added = (problem.objective(*each[:2], logistic) for each in (whole, found))
    assert added == pytest.approx(best, rel=1e-3, abs=1e-3)
    assert found[2] < 200 * count


@pytest.mark.parametrize("logistic", [False, True])
def test_one_part_is_solved_as_on_one_machine(logistic: bool) -> None:
    problem = Problem(300, 100, 0)
    w, b, passes = problem.solve(problem.X, logistic, tol=0.1)
    own, own_b, own_passes = problem.solve(over(1, problem.X), logistic, tol=0.1)
    assert_array_equal(own, w)
    assert (own_b, own_passes) == (b, passes)


def test_parts_that_hold_the_same_rows_do_not_overshoot() -> None:
    """The worst case of adding up: every part wants the same change."""
    one = Problem(40, 20, 3)
    eight = Problem(40, 20, 3)
    eight.X = sp.vstack([one.X] * 8, format="csr")
    eight.signs, eight.start = np.tile(one.signs, 8), np.tile(one.start, 8)
    eight.costs = np.tile(one.costs, 8) / 8
    best = one.objective(*one.solve(one.X, False)[:2], False)
    assert eight.objective(*eight.solve(over(8, eight.X), False)[:2], False) == pytest.approx(
        best, rel=1e-4
    )


def test_the_same_parts_give_the_same_solution() -> None:
    problem = Problem(200, 50, 1)
    one, two = (problem.solve(over(3, problem.X), False) for _ in range(2))
    assert_array_equal(one[0], two[0])


@pytest.mark.parametrize(("subject", "count"), [("nbsvm", 2), ("nbsvm", 8), ("linear_svc", 4)])
def test_many_texts_are_judged_as_well(subject: str, count: int) -> None:
    """At most 0.1 points worse than on one machine, with the tolerance that subjects have."""
    data, held_out = word_counts(20_000, seed=0), word_counts(20_000, seed=1)
    chosen = get_subject(subject)
    parts = Labelled(over(count, data.counts), data.labels)
    whole, found = (fit_classifier(chosen, chosen.defaults, 0, each) for each in (data, parts))
    rows, signs = whole[:-1].transform(data.counts), 2.0 * data.labels - 1

    def objective(fitted: Pipeline) -> float:
        w, b = fitted[-1].coef_[0].astype(np.float64), fitted[-1].intercept_[0]
        losses = np.maximum(0, 1 - signs * (rows @ w + b)) ** 2
        return float((w @ w + b * b) / 2 + fitted[-1].C * losses.sum())

    accuracies = [
        np.mean(each.predict(held_out.counts) == held_out.labels) for each in (whole, found)
    ]
    assert accuracies[0] > 0.8
    assert accuracies[1] >= accuracies[0] - 0.001
    assert objective(found) <= 1.02 * objective(whole)
    assert found[-1].n_iter_ < 12 * count


@pytest.mark.parametrize("scheme", ["nb", "tfidf", "binary", "count"])
def test_terms_have_the_same_weights(data: Labelled, scheme: str) -> None:
    parts = over(5, data.counts)
    whole = TermWeighting(scheme).fit(data.counts, data.labels)
    found = TermWeighting(scheme).fit(parts, data.labels)
    assert_array_equal(found.buckets_, whole.buckets_)
    assert_array_equal(found.weights_, whole.weights_)
    weighed = found.transform(parts)
    assert isinstance(weighed, SpreadRows)
    assert (weighed.gathered() != whole.transform(data.counts)).nnz == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinearSVM(0.3, "balanced", **EXACT),
        lambda: DualLogisticRegression(1.0, **EXACT),
        lambda: BaggedLinearSVM(3, 0.8, 0.3, **EXACT),
    ],
)
def test_estimators_find_the_same_margins(data: Labelled, make: Callable[[], LinearSVM]) -> None:
    rows = TermWeighting("tfidf").fit(data.counts).transform(data.counts)
    whole, found = make().fit(rows, data.labels), make().fit(over(4, rows), data.labels)
    margins = found.decision_function(over(3, rows))
    assert_allclose(margins, whole.decision_function(rows), atol=5e-3)


@pytest.mark.parametrize("subject", ["nbsvm", "linear_svc", "logistic_regression"])
def test_calibrated_subjects_are_as_good(data: Labelled, subject: str) -> None:
    chosen, held_out = get_subject(subject), labelled(500, SPACE, seed=1)
    parts = Labelled(over(4, data.counts), data.labels)
    whole, found = (
        fit_classifier(chosen, chosen.defaults, 0, each, calibrated=True) for each in (data, parts)
    )
    before, after = (each.predict_proba(held_out.counts)[:, 1] for each in (whole, found))
    assert np.abs(before - after).mean() < 0.03
    accuracies = [((each >= 0.5) == held_out.labels).mean() for each in (before, after)]
    assert abs(accuracies[0] - accuracies[1]) <= 0.02


@pytest.mark.parametrize("subject", ["nbsvm", "logistic_regression"])
def test_several_classes(subject: str) -> None:
    chosen, data = get_subject(subject), of_three_classes(SENTIMENTS, 300)
    held_out = of_three_classes(SENTIMENTS, 300, seed=1)
    parts = Labelled(over(3, data.counts), data.labels, data.classes, data.possible)
    whole, found = (
        fit_classifier(chosen, chosen.defaults, 0, each, calibrated=True) for each in (data, parts)
    )
    before, after = (each.predict_proba(held_out.counts) for each in (whole, found))
    assert np.abs(before - after).mean() < 0.03


@pytest.mark.parametrize("subject", ["complement_nb", "random_forest"])
def test_what_has_no_solver_says_so(data: Labelled, subject: str) -> None:
    chosen = get_subject(subject)
    with pytest.raises(TrainingError, match=f"cannot fit {subject}, only nbsvm"):
        fit_classifier(
            chosen, chosen.defaults, 0, Labelled(over(2, data.counts), data.labels), calibrated=True
        )


class TestSpreadRows:
    def test_rows_can_be_chosen(self, data: Labelled) -> None:
        parts = over(4, data.counts)
        for rows in (slice(3, 400), np.arange(600) % 3 == 0, np.array([0, 0, 7, 599])):
            chosen = parts[rows]
            assert isinstance(chosen, SpreadRows)
            assert (chosen.gathered() != data.counts[rows]).nnz == 0

    def test_small_parts_become_one_when_others_follow(self, data: Labelled) -> None:
        many = over(4, data.counts)
        few = many[np.arange(600) % 10 == 0]
        both = many.followed_by(few)
        assert [part.n_rows for part in both.parts] == [150, 150, 150, 150, 60]
        expected = sp.vstack([data.counts, data.counts[::10]], format="csr")
        assert (both.gathered() != expected).nnz == 0

    def test_there_are_no_more_parts_than_rows(self) -> None:
        rows = sp.csr_matrix(np.eye(3, dtype=np.float32))
        assert [part.n_rows for part in over(8, rows).parts] == [1, 1, 1]

    def test_the_driver_reads_no_rows(
        self, data: Labelled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only sums, margins and changes of weights come back."""
        parts = over(3, data.counts)
        fetched = []
        workers = parts.workers
        get = workers.get
        monkeypatch.setattr(workers, "get", lambda ref: fetched.append(get(ref)) or fetched[-1])
        chosen = get_subject("nbsvm")
        fit_classifier(chosen, chosen.defaults, 0, Labelled(parts, data.labels), calibrated=True)
        assert fetched
        assert not any(sp.issparse(each) for each in fetched)

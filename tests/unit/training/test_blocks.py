"""Rows in blocks: the same models as of rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from pipelines.config.params import Vectorizer
from pipelines.errors import StorageError, TrainingError
from pipelines.text.row_blocks import Block, RowBlocks
from pipelines.text.vectorizer import TermWeighting
from pipelines.training import spooling
from pipelines.training.calibration import SigmoidCalibrated
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_classifier
from pipelines.training.linear import (
    BaggedLinearSVM,
    DualLogisticRegression,
    LinearComplementNB,
    LinearSVM,
)
from pipelines.training.spooling import Entries, Spool, spooled
from pipelines.training.subjects import get_subject
from tests import disks
from tests.unit.training.corpus import labelled

SPACE = Vectorizer(ngram_max=2, bits=14)
EXACT = {"tol": 1e-3, "max_iter": 500, "random_state": 0}


def in_blocks(rows: sp.csr_matrix, folder: Path, memory: int = 0) -> RowBlocks:
    """The rows in a dozen blocks, one of a single row."""
    parts = [rows[begin:end] for begin, end in pairwise([0, 1, *range(50, 601, 50)])]
    return RowBlocks(
        [Block(part.shape[0], partial(sp.csr_matrix, part)) for part in parts],
        rows.shape[1],
        folder,
        memory,
    )


@pytest.fixture(params=["all rows held", "a third"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows are in memory together."""
    if request.param == "a third":
        monkeypatch.setattr(spooling, "_LEAST", 4_000)


@pytest.fixture
def data() -> Labelled:
    return labelled(600, SPACE)


@pytest.mark.parametrize("scheme", ["nb", "tfidf", "binary", "count"])
def test_terms_have_the_same_weights(data: Labelled, tmp_path: Path, scheme: str) -> None:
    blocks = in_blocks(data.counts, tmp_path)
    whole = TermWeighting(scheme).fit(data.counts, data.labels)
    found = TermWeighting(scheme).fit(blocks, data.labels)

    assert_array_equal(found.buckets_, whole.buckets_)
    assert_array_equal(found.weights_, whole.weights_)
    assert (found.transform(blocks).gathered() != whole.transform(data.counts)).nnz == 0


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("C", [0.1, 12.0])
def test_the_optimum_is_the_same(data: Labelled, tmp_path: Path, C: float) -> None:
    weighting = TermWeighting("nb").fit(data.counts, data.labels)
    rows, blocks = map(weighting.transform, (data.counts, in_blocks(data.counts, tmp_path)))
    signs = 2.0 * data.labels - 1

    def objective(fitted: LinearSVM) -> float:
        w, b = fitted.coef_[0].astype(np.float64), fitted.intercept_[0]
        losses = np.maximum(0, 1 - signs * (rows @ w + b)) ** 2
        return float((w @ w + b * b) / 2 + C * losses.sum())

    whole = LinearSVM(C, **EXACT).fit(rows, data.labels)
    found = LinearSVM(C, **EXACT).fit(blocks, data.labels)

    assert objective(found) == pytest.approx(objective(whole), rel=1e-5)
    assert_allclose(found.decision_function(blocks), whole.decision_function(rows), atol=1e-3)
    assert found.n_iter_ < EXACT["max_iter"]
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    "make", [lambda: BaggedLinearSVM(3, 0.8, **EXACT), lambda: LinearComplementNB(alpha=0.3)]
)
def test_other_linear_classifiers_too(
    data: Labelled, tmp_path: Path, make: Callable[[], BaseEstimator]
) -> None:
    weighting = TermWeighting("tfidf").fit(data.counts)
    rows, blocks = map(weighting.transform, (data.counts, in_blocks(data.counts, tmp_path)))
    whole, found = make().fit(rows, data.labels), make().fit(blocks, data.labels)
    assert_allclose(found.decision_function(blocks), whole.decision_function(rows), atol=1e-3)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("C", [0.1, 30.0])
def test_logistic_regression_agrees_with_liblinear(
    data: Labelled, tmp_path: Path, C: float, blocks: bool
) -> None:
    weighting = TermWeighting("tfidf").fit(data.counts)
    rows = weighting.transform(data.counts)
    given = weighting.transform(in_blocks(data.counts, tmp_path)) if blocks else rows
    theirs = LogisticRegression(C=C, solver="liblinear", dual=True, tol=1e-8, max_iter=10_000)
    theirs.fit(rows, data.labels)
    found = DualLogisticRegression(C, **EXACT).fit(given, data.labels)
    assert_allclose(found.decision_function(given), theirs.decision_function(rows), atol=1e-3)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("subject", ["nbsvm", "linear_svc", "logistic_regression", "complement_nb"])
def test_calibrated_subjects_are_as_good(data: Labelled, tmp_path: Path, subject: str) -> None:
    blocks = Labelled(in_blocks(data.counts, tmp_path), data.labels)
    chosen, held_out = get_subject(subject), labelled(3_000, SPACE, seed=1)
    whole, found = (
        fit_classifier(chosen, chosen.defaults, 0, each, calibrated=True) for each in (data, blocks)
    )
    before, after = (each.predict_proba(held_out.counts)[:, 1] for each in (whole, found))
    assert np.abs(before - after).mean() < 0.03
    accuracies = [((each >= 0.5) == held_out.labels).mean() for each in (before, after)]
    assert abs(accuracies[0] - accuracies[1]) <= 0.01


@pytest.mark.parametrize("scheme", ["nb", "tfidf"])
def test_as_many_rows_are_held_as_the_memory_is_for(
    data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(spooling, "_LEAST", 1)
    weighting = TermWeighting(scheme).fit(data.counts, data.labels)
    rows = weighting.transform(data.counts)
    every = np.ones(rows.shape[0], dtype=np.bool_)

    def held(memory: int) -> list[int]:
        """Entries of each group of blocks."""
        blocks = weighting.transform(in_blocks(data.counts, tmp_path, memory))
        with spooled(blocks.within(0.5)) as spool:
            groups = spool.groups(every, range(len(blocks.blocks))[::-1])
            assert sorted(chain(*groups)) == list(range(len(blocks.blocks)))
            read = (spool.read(group, every) for group in groups)
            return [int(entries.ends[numbers].max()) for entries, numbers in read]

    fixed = spooling._ROW * rows.shape[0] + spooling._COLUMN * rows.shape[1] + spooling._BLOCK
    entry = 4 if scheme == "nb" else 8
    assert held(2 * (fixed + entry * rows.nnz)) == [rows.nnz]
    half = held(2 * (fixed + entry * rows.nnz // 2))
    assert 2 <= len(half) <= 3
    assert sum(half) == rows.nnz
    assert max(half) <= rows.nnz / 2
    assert len(held(0)) == 13
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("threads", "shares"), [(1, [900, 900, 900]), (2, [300, 300, 600])])
def test_fits_at_the_same_time_share_the_memory(
    data: Labelled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    shares: list[int],
) -> None:
    seen = []
    fit = LinearSVM.fit

    def recording(self: LinearSVM, X: RowBlocks, y: NDArray[np.generic]) -> LinearSVM:
        seen.append((X.shape[0], X.memory))
        return fit(self, X, y)

    monkeypatch.setattr(LinearSVM, "fit", recording)
    blocks = in_blocks(data.counts, tmp_path, 900)
    SigmoidCalibrated(LinearSVM(), threads=threads, random_state=0).fit(blocks, data.labels)
    assert sorted(seen) == list(zip([300, 300, 600], shares, strict=True))


def test_rows_that_are_solved_are_not_read_again_before_the_end(
    data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = []
    read = Spool.read

    def recording(
        self: Spool, group: Sequence[int], wanted: NDArray[np.bool_]
    ) -> tuple[Entries, NDArray[np.intp]]:
        shares.append(wanted.mean())
        return read(self, group, wanted)

    monkeypatch.setattr(Spool, "read", recording)
    monkeypatch.setattr(spooling, "_LEAST", 4_000)
    weighting = TermWeighting("nb").fit(data.counts, data.labels)
    fitted = LinearSVM(12.0, **EXACT)
    fitted.fit(weighting.transform(in_blocks(data.counts, tmp_path)), data.labels)
    assert shares[0] == shares[-1] == 1
    assert min(shares) < 0.5
    assert fitted.n_iter_ < EXACT["max_iter"]


@pytest.mark.parametrize("scheme", ["nb", "tfidf"])
def test_wanted_rows_are_read_as_they_are(data: Labelled, tmp_path: Path, scheme: str) -> None:
    weighting = TermWeighting(scheme).fit(data.counts, data.labels)
    rows = weighting.transform(data.counts)
    wanted = np.random.default_rng(0).random(rows.shape[0]) < 0.4
    wanted[300:350] = True
    with spooled(weighting.transform(in_blocks(data.counts, tmp_path))) as spool:
        entries, found = spool.read([7, 3, 0], wanted)
    expected = [
        np.arange(300, 350),
        100 + np.flatnonzero(wanted[100:150]),
        np.flatnonzero(wanted[:1]),
    ]
    assert_array_equal(found, np.concatenate(expected))
    for row in found:
        place = slice(entries.begins[row], entries.ends[row])
        columns = entries.columns[place]
        assert_array_equal(columns, rows[row].indices)
        values = (
            entries.scales[row] * weighting.weights_[columns]
            if entries.values is None
            else entries.values[place]
        )
        assert_allclose(values, rows[row].data, rtol=1e-6)


def test_what_needs_all_rows_in_memory_says_so(data: Labelled, tmp_path: Path) -> None:
    blocks = Labelled(in_blocks(data.counts, tmp_path), data.labels)
    forest = get_subject("random_forest")
    with pytest.raises(TrainingError, match=r"training\.memory .*choose nbsvm"):
        fit_classifier(forest, forest.defaults, 0, blocks)


def test_a_full_disk_is_said(data: Labelled, tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "small", "64k") as folder:
        blocks = in_blocks(data.counts, folder)
        with pytest.raises(StorageError, match="the disk is full"):
            LinearSVM().fit(blocks, data.labels)
        assert not list(folder.iterdir())

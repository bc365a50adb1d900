"""Choosing and fitting what is added to a model that one starts from."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipelines.errors import TrainingError
from pipelines.training import adaptation
from pipelines.training.adaptation import (
    Rows,
    adapt,
    all_plans,
    calibrate,
    disagreement,
    scratch_plans,
)


def made_rows(n: int, start: float, own: float, seed: int = 0) -> Rows:
    """Rows whose labels follow the start's margin and some features, as strongly as is said."""
    random = np.random.default_rng(seed)
    margins = random.normal(size=n)
    features = (random.random((n, 30)) < 0.2).astype(np.float32)
    weights = np.linspace(-1, 1, 30)
    truth = start * margins + own * (features @ weights)
    positive = truth + random.logistic(scale=0.3, size=n) > 0
    return Rows(csr_matrix(features / np.sqrt(6, dtype=np.float32)), margins, positive)


def predicted(rows: Rows, seed: int = 0) -> NDArray[np.bool_]:
    found = adapt(rows, seed)
    margins = found.plan.scale * rows.start + rows.features @ found.difference + found.bias
    return found.slope * margins + found.offset > 0


def test_learns_words_unknown_to_the_start() -> None:
    rows = made_rows(400, start=1.0, own=2.0)
    found = adapt(rows, seed=0)
    assert found.plan.kind == "adapted"
    assert (predicted(rows) == rows.labels).mean() > 1 - disagreement(rows) + 0.05


def test_a_start_that_knows_nothing_gives_way_to_a_model_from_scratch() -> None:
    rows = made_rows(1000, start=0.0, own=6.0)
    noise = Rows(rows.features, 5 * rows.start, rows.labels)
    assert adapt(noise, seed=0).plan.kind == "scratch"


def test_uninformative_features_do_not_spoil_the_start() -> None:
    rows, unseen = made_rows(100, 3.0, 0.0, seed=1), made_rows(2000, 3.0, 0.0, seed=2)
    found = adapt(rows, seed=0)
    margins = found.plan.scale * unseen.start + unseen.features @ found.difference + found.bias
    right = (found.slope * margins + found.offset > 0) == unseen.labels
    assert right.mean() >= 1 - disagreement(unseen) - 0.02


def test_the_same_rows_give_the_same_model() -> None:
    rows = made_rows(200, 1.0, 1.0)
    first, second = adapt(rows, seed=3), adapt(rows, seed=3)
    assert first.plan == second.plan
    assert first.difference.tobytes() == second.difference.tobytes()
    assert (first.bias, first.slope, first.offset) == (second.bias, second.slope, second.offset)


def test_names_the_cross_validated_loss_of_each_kind() -> None:
    losses = adapt(made_rows(200, 1.0, 1.0), seed=0).losses
    assert losses.keys() == {"start", "scratch", "adapted"}
    assert losses["adapted"] < min(losses["start"], losses["scratch"])


def test_of_many_rows_plans_are_fitted_on_all_but_those_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    fit = adaptation._fit

    def spy(rows: Rows, *others: object) -> object:
        sizes.append(rows.labels.size)
        return fit(rows, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(adaptation, "_fit", spy)
    adapt(made_rows(5_000, start=0.5, own=1.0), 0)
    assert set(sizes) == {4_000, 5_000}


@pytest.mark.parametrize("n_positive", [0, 2, 20])
def test_refuses_too_few_rows_of_a_class(n_positive: int) -> None:
    rows = made_rows(20, 1.0, 1.0)
    positive = np.arange(20) < n_positive
    with pytest.raises(TrainingError, match="too few to learn from"):
        adapt(Rows(rows.features, rows.start, positive), seed=0)


def test_notices_labels_that_are_swapped() -> None:
    rows = made_rows(300, 5.0, 0.0)
    assert disagreement(rows) < 0.1
    assert disagreement(Rows(rows.features, rows.start, ~rows.labels)) > 0.9


class TestCalibrate:
    def test_few_rows_change_the_start_s_calibration_a_little(self) -> None:
        margins = np.array([1.0, -1.0] * 3)
        slope, offset = calibrate(margins, margins > 0)
        assert 3.0 < slope < 6.0
        assert abs(offset) < 0.05

    def test_many_rows_replace_the_calibration_of_the_start(self) -> None:
        random = np.random.default_rng(0)
        margins = random.normal(size=20_000)
        positive = random.random(margins.size) < 1 / (1 + np.exp(-(0.7 * margins + 1.2)))
        slope, offset = calibrate(margins, positive)
        assert slope == pytest.approx(0.7, abs=0.06)
        assert offset == pytest.approx(1.2, abs=0.06)

    def test_no_margins_can_make_it_fail(self) -> None:
        for margins in (np.zeros(30), np.full(30, 1e6), np.linspace(-1e6, 1e6, 30)):
            slope, offset = calibrate(margins, np.arange(30) % 2 == 0)
            assert np.isfinite([slope, offset]).all()


def made_classes(n: int, start: float, own: float, seed: int = 0) -> Rows:
    """Rows of three classes whose labels follow the start's margins and some features."""
    random = np.random.default_rng(seed)
    margins = random.normal(size=(n, 3))
    margins -= margins.mean(axis=1, keepdims=True)
    features = (random.random((n, 30)) < 0.2).astype(np.float32)
    weights = np.array([np.linspace(-1, 1, 30), np.tile([-1, 1], 15), np.linspace(1, -1, 30)]).T
    truth = start * margins + own * (features @ weights)
    labels = (truth + random.gumbel(scale=0.3, size=truth.shape)).argmax(axis=1)
    return Rows(csr_matrix(features / np.sqrt(6, dtype=np.float32)), margins, labels)


class TestThreeClasses:
    def test_notices_two_labels_that_are_swapped(self) -> None:
        rows = made_classes(300, 5.0, 0.0)
        swapped = Rows(rows.features, rows.start, np.array([0, 2, 1])[rows.labels])
        assert disagreement(swapped, 1, 2) > 0.9
        assert disagreement(swapped, 0, 1) < 0.6
        assert disagreement(rows, 1, 2) < 0.1

    def test_learns_words_unknown_to_the_start(self) -> None:
        rows, unseen = made_classes(900, 1.0, 2.0), made_classes(900, 1.0, 2.0, seed=1)
        found = adapt(rows, seed=0)
        assert found.plan.kind == "adapted"
        right = (found.probabilities(unseen).argmax(axis=1) == unseen.labels).mean()
        assert right > (unseen.start.argmax(axis=1) == unseen.labels).mean() + 0.1

    def test_a_start_that_knows_nothing_gives_way_to_a_model_from_scratch(self) -> None:
        rows = made_classes(1000, start=0.0, own=6.0)
        noise = Rows(rows.features, 5 * rows.start, rows.labels)
        assert adapt(noise, seed=0).plan.kind == "scratch"

    def test_many_rows_replace_the_calibration_of_the_start(self) -> None:
        random = np.random.default_rng(0)
        margins = random.normal(size=(20_000, 3))
        offsets = np.array([0.5, -1.0, 0.5])
        labels = (0.7 * margins + offsets + random.gumbel(size=margins.shape)).argmax(axis=1)
        slope, offset = calibrate(margins, labels)
        assert slope == pytest.approx(0.7, abs=0.06)
        np.testing.assert_allclose(offset, offsets, atol=0.1)

    def test_rows_that_could_not_have_a_class_are_no_evidence_against_it(self) -> None:
        """Half of the rows are of a data set without the class 1: those of it have another."""
        rows, unseen = made_classes(2_000, 1.0, 2.0), made_classes(2_000, 1.0, 2.0, seed=1)
        extreme = np.arange(2_000) % 2 == 0
        forced = np.where(
            extreme & (rows.labels == 1), 2 * (np.arange(2_000) // 2 % 2), rows.labels
        )
        possible = np.ones((2_000, 3), dtype=bool)
        possible[extreme, 1] = False

        def probability(given: NDArray[np.bool_] | None) -> float:
            found = adapt(Rows(rows.features, rows.start, forced, given), seed=0)
            return float(found.probabilities(unseen)[:, 1].mean())

        share = (unseen.labels == 1).mean()
        assert probability(possible) == pytest.approx(share, abs=0.03)
        assert probability(None) < share - 0.1

    @pytest.mark.parametrize(("n", "ratios"), [(150, False), (1_000, True)])
    def test_from_scratch_ratios_need_many_rows(self, n: int, ratios: bool) -> None:
        rows = made_classes(n, start=0.0, own=6.0)
        competing = all_plans(3, n)
        assert (scratch_plans(3)[-1] in competing) == ratios
        assert adapt(rows, seed=0).plan in competing

    def test_refuses_too_few_rows_of_a_class(self) -> None:
        rows = made_classes(60, 1.0, 1.0)
        with pytest.raises(TrainingError, match="2 of them of the rarest class"):
            adapt(Rows(rows.features, rows.start, np.repeat([0, 1, 2], [28, 30, 2])), seed=0)

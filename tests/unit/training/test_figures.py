"""Figures show the numbers they are about, and say so when there are none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pipelines.errors import StorageError
from pipelines.training import figures
from pipelines.training.evaluation import evaluate, wilson_interval

Y = np.array([1, 1, 1, 0, 0], dtype=np.int8)
PROBABILITY = np.array([0.9, 0.6, 0.2, 0.7, 0.1])
ONE_CLASS = np.ones(5, dtype=np.int8)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def line(figure: Figure, label: str) -> tuple[list[float], list[float]]:
    """The points of the curve whose label begins with `label`."""
    lines = [each for axes in figure.axes for each in axes.lines]
    found = next(each for each in lines if str(each.get_label()).startswith(label))
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def study(
    values: list[float], direction: str = "maximize", prune: frozenset[int] = frozenset()
) -> optuna.Study:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("C", 0.1, 10)
        trial.suggest_int("depth", 1, 9)
        if trial.number in prune:
            raise optuna.TrialPruned
        return values[trial.number]

    created = optuna.create_study(
        direction=direction, sampler=optuna.samplers.RandomSampler(seed=1)
    )
    created.optimize(objective, n_trials=len(values))
    return created


def test_confusion_matrix_counts_and_shares() -> None:
    shown = texts(figures.confusion_matrix(Y, PROBABILITY))
    # Row by row: actual negative, then actual positive.
    assert shown == ["1\n50.0%", "1\n50.0%", "1\n33.3%", "2\n66.7%"]


def test_confusion_matrix_follows_the_threshold() -> None:
    shown = texts(figures.confusion_matrix(Y, PROBABILITY, threshold=0.8))
    assert shown == ["2\n100.0%", "0\n0.0%", "2\n66.7%", "1\n33.3%"]


def test_confusion_matrix_of_one_class() -> None:
    shown = texts(figures.confusion_matrix(ONE_CLASS, PROBABILITY))
    assert shown == ["0\n0.0%", "0\n0.0%", "2\n40.0%", "3\n60.0%"]


def test_roc_curve_goes_from_corner_to_corner() -> None:
    figure = figures.roc_curve(Y, PROBABILITY)
    x, y = line(figure, "Model (AUC 0.667)")
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)


def test_precision_recall_curve_names_the_share_of_positives() -> None:
    figure = figures.precision_recall_curve(Y, PROBABILITY)
    _, chance = line(figure, "Chance (0.60)")
    assert set(chance) == {0.6}
    recall, precision = line(figure, "Model")
    assert (recall[0], precision[0]) == (1, 0.6)
    assert (recall[-1], precision[-1]) == (0, 1)


@pytest.mark.parametrize("draw", [figures.roc_curve, figures.precision_recall_curve])
def test_curves_of_one_class_say_so(
    draw: Callable[[NDArray[np.int8], NDArray[np.float64]], Figure],
) -> None:
    figure = draw(ONE_CLASS, PROBABILITY)
    assert texts(figure) == ["Not defined: all texts have the same label."]
    assert figure.axes[0].get_title(loc="left"), "the title stays"


def test_calibration_shows_bins_and_their_sizes() -> None:
    figure = figures.calibration(Y, PROBABILITY)
    predicted, observed = line(figure, "Model")
    assert predicted == pytest.approx([0.1, 0.2, 0.6, 0.7, 0.9])
    assert observed == [0, 1, 1, 0, 1]
    assert "ECE 0.420" in figure.axes[0].get_title(loc="left")
    bars = [each for each in figure.axes[1].patches if isinstance(each, Rectangle)]
    assert sum(bar.get_height() for bar in bars) == 5


def test_calibration_of_a_constant() -> None:
    predicted, observed = line(figures.calibration(Y, np.full(5, 1.0)), "Model")
    assert (predicted, observed) == ([1.0], [0.6])


@pytest.mark.parametrize(
    ("direction", "best"), [("maximize", [0.7, 0.7, 0.9, 0.9]), ("minimize", [0.7, 0.6, 0.6, 0.6])]
)
def test_history_follows_the_best_value(direction: str, best: list[float]) -> None:
    figure = figures.optimisation_history(study([0.7, 0.6, 0.9, 0.8], direction), "accuracy")
    assert line(figure, "Best so far")[1] == best
    assert line(figure, "Trial")[1] == [0.7, 0.6, 0.9, 0.8]
    assert figure.axes[0].get_ylabel() == "accuracy"


def test_history_marks_pruned_trials() -> None:
    figure = figures.optimisation_history(study([0.7, 0.6, 0.9], prune=frozenset({1})))
    assert line(figure, "Trial")[0] == [0, 2]
    assert line(figure, "Pruned")[0] == [1]


def test_history_without_a_finished_trial() -> None:
    assert texts(figures.optimisation_history(study([]))) == ["No trial has finished."]
    pruned = study([0.1], prune=frozenset({0}))
    assert texts(figures.optimisation_history(pruned)) == ["No trial has finished."]


def test_importance_finds_the_parameter_that_matters() -> None:
    created = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    created.optimize(
        lambda trial: trial.suggest_float("C", 0, 1) + 0 * trial.suggest_float("noise", 0, 1),
        n_trials=30,
    )
    axes = figures.parameter_importance(created).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    (bars,) = (each for each in axes.containers if isinstance(each, BarContainer))
    shares = dict(zip(names, [bar.get_width() for bar in bars.patches], strict=True))
    assert shares["C"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_importance_of_a_single_parameter() -> None:
    created = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    created.optimize(lambda trial: trial.suggest_float("C", 0, 1), n_trials=2)
    assert "1.00" in texts(figures.parameter_importance(created))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "Needs at least two finished trials."),
        ([0.5], "Needs at least two finished trials."),
        ([0.5, 0.5, 0.5], "All trials have the same value."),
    ],
)
def test_importance_with_nothing_to_assess(values: list[float], message: str) -> None:
    assert texts(figures.parameter_importance(study(values))) == [message]


def test_importance_of_trials_that_share_no_parameter() -> None:
    created = optuna.create_study()
    created.optimize(lambda trial: trial.suggest_float(f"p{trial.number}", 0, 1), n_trials=3)
    assert "No parameter" in texts(figures.parameter_importance(created))[0]


def test_slices_are_drawn_in_order_with_their_size() -> None:
    metrics = {"test": evaluate(Y, PROBABILITY), "short": evaluate(Y[:1], PROBABILITY[:1])}
    figure = figures.slice_accuracy(metrics)
    assert texts(figure) == ["60.0%", "100.0%"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["test (n = 5)", "short (n = 1)"]


def test_no_slices() -> None:
    assert texts(figures.slice_accuracy({})) == ["No slice was evaluated."]


def test_interval_of_a_perfect_slice_is_not_empty() -> None:
    low, high = wilson_interval(np.array([1.0, 0.5]), np.array([10, 10]))
    # Wilson's interval for 10 of 10 and 5 of 10, from published tables.
    assert low == pytest.approx([0.722, 0.237], abs=0.001)
    assert high == pytest.approx([1.0, 0.763], abs=0.001)


def test_figures_are_saved_as_png(tmp_path: Path) -> None:
    drawn = {"roc": figures.roc_curve(Y, PROBABILITY), "slices": figures.slice_accuracy({})}
    paths = figures.save_figures(drawn, tmp_path / "new" / "figures")
    assert [path.name for path in paths] == ["roc.png", "slices.png"]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(path.parent.iterdir()) == sorted(paths), "no temporary file stays behind"


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    drawn = {"roc": figures.slice_accuracy({})}
    with pytest.raises(StorageError, match="cannot be written"):
        figures.save_figures(drawn, tmp_path / "file" / "figures")


def test_plot_data(tmp_path: Path) -> None:
    paths = figures.plot_data(Y, PROBABILITY, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    names = {"roc", "precision_recall", "calibration", "confusion"}
    assert {path.stem for path in paths if path.suffix == ".png"} == names  # need no network
    frames = {path.stem: pl.read_csv(path) for path in paths if path.suffix == ".csv"}
    assert frames.keys() == names
    assert frames["confusion"].rows() == [
        ("POSITIVE", "POSITIVE"),
        ("POSITIVE", "POSITIVE"),
        ("POSITIVE", "NEGATIVE"),
        ("NEGATIVE", "POSITIVE"),
        ("NEGATIVE", "NEGATIVE"),
    ]
    assert frames["calibration"].columns == ["predicted", "observed", "n"]
    assert frames["calibration"]["n"].sum() == 5
    assert frames["roc"].columns == ["fpr", "tpr", "threshold"]
    assert frames["roc"].row(0) == (0, 0, 1)
    assert frames["precision_recall"].row(0) == pytest.approx((1, 0.6, 0.1))


def test_plot_data_is_thinned_out_and_keeps_the_ends(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    probability = generator.random(20_000)
    y = (generator.random(20_000) < 0.5).astype(np.int8)
    figures.plot_data(y, probability, tmp_path)
    roc = pl.read_csv(tmp_path / "roc.csv")
    assert roc.height == figures.MAX_POINTS
    assert roc.select("fpr", "tpr").row(0) == (0, 0)
    assert roc.select("fpr", "tpr").row(-1) == (1, 1)
    assert roc["fpr"].is_sorted()
    assert pl.read_csv(tmp_path / "precision_recall.csv").height == figures.MAX_POINTS
    assert pl.read_csv(tmp_path / "confusion.csv").height == 20_000


def test_plot_data_of_one_class_has_headers_only(tmp_path: Path) -> None:
    figures.plot_data(ONE_CLASS, PROBABILITY, tmp_path)
    assert (tmp_path / "roc.csv").read_text() == "fpr,tpr,threshold\n"
    assert (tmp_path / "precision_recall.csv").read_text() == "recall,precision,threshold\n"


def test_plot_data_replaces_what_was_there(tmp_path: Path) -> None:
    figures.plot_data(Y, PROBABILITY, tmp_path)
    figures.plot_data(ONE_CLASS, PROBABILITY, tmp_path)
    assert pl.read_csv(tmp_path / "confusion.csv")["actual"].unique().to_list() == ["POSITIVE"]


def test_pyplot_stays_unloaded() -> None:
    code = "import sys, pipelines.training.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

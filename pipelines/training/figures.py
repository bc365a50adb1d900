"""Figures of an evaluation and of a study, and the numbers behind them for `dvc plots`.

The figures are made without pyplot, so they hold no global state and need no display. Colours are
those of Okabe and Ito, which stay apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import polars as pl
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from pipelines.files import replaced_file
from pipelines.labels import BINARY, POSITIVE_FROM, Classes
from pipelines.training.evaluation import (
    ECE_BINS,
    Metrics,
    calibration_bins,
    expected_calibration_error,
    wilson_interval,
)

BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
SKY: Final = "#56B4E9"
GREY: Final = "#8A8A8A"
COLOURS: Final = (VERMILLION, BLUE, "#009E73", "#CC79A7", "#E69F00", SKY)
_LINES: Final = ("-", "--", ":", "-.")
INK: Final = "#222222"
GRID: Final = "#E4E4E4"

DPI: Final = 120
MAX_POINTS: Final = 1000
"""Points of a curve in the files for `dvc plots`."""

Labels = NDArray[np.int8]
Probabilities = NDArray[np.float64]


def confusion_matrix(
    y: Labels,
    probability: Probabilities,
    classes: Classes = BINARY,
    threshold: float = POSITIVE_FROM,
) -> Figure:
    """Counts of actual against predicted classes, with the share of each actual class.

    Parameters
    ----------
    y : ndarray of int8, shape (n,)
        Numbers of classes.
    probability : ndarray of float64, shape (n,) or (n, n_classes)
        As in `pipelines.labels`.
    classes : Classes
    threshold : float
        With two classes, a text counts as predicted positive from this probability on.
    """
    numbers = list(range(len(classes.names)))
    predicted = classes.predicted(probability, threshold)
    counts = sklearn.metrics.confusion_matrix(y, predicted, labels=numbers)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    more = len(numbers) - 2
    size = (4.8 + 0.7 * more, 4.4 + 0.6 * more)
    figure, axes = _figure("Confusion matrix", "Predicted", "Actual", size=size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    names = [_drawable(name) for name in classes.names]
    axes.set_xticks(numbers, labels=names, rotation=0 if more < 4 else 90)
    axes.set_yticks(numbers, labels=names, rotation=90 if more < 4 else 0, va="center")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:,}\n{shares[row, column]:.1%}"
        colour = "white" if shares[row, column] > 0.55 else INK
        size_of_text = 14 if not more else 11 if more < 4 else 6
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size_of_text)
    return figure


def roc_curve(y: Labels, probability: Probabilities, classes: Classes = BINARY) -> Figure:
    """True against false positive rate for every threshold; of several classes, a curve for each.

    It says so when `y` has one class.
    """
    figure, axes = _figure("ROC curve", "False positive rate", "True positive rate", square=True)
    if _one_class(y):
        return _message(axes, "Not defined: all texts have the same label.")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="Chance")
    for name, own, score, style in _against_rest(y, probability, classes):
        false_rate, true_rate, _ = sklearn.metrics.roc_curve(own, score)
        area = sklearn.metrics.roc_auc_score(own, score)
        axes.plot(false_rate, true_rate, label=f"{name} (AUC {area:.3f})", **style)
    axes.legend(loc="lower right", frameon=False, fontsize=_legend_size(classes))
    return figure


def precision_recall_curve(
    y: Labels, probability: Probabilities, classes: Classes = BINARY
) -> Figure:
    """Precision against recall for every threshold; of several classes, a curve for each.

    It says so when `y` has one class.
    """
    figure, axes = _figure("Precision and recall", "Recall", "Precision", square=True)
    if _one_class(y):
        return _message(axes, "Not defined: all texts have the same label.")
    if classes.two:
        share = float(y.mean())
        axes.axhline(share, color=GREY, linestyle="--", linewidth=1, label=f"Chance ({share:.2f})")
    for name, own, score, style in _against_rest(y, probability, classes):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(own, score)
        average = sklearn.metrics.average_precision_score(own, score)
        axes.plot(recall, precision, label=f"{name} (average precision {average:.3f})", **style)
    axes.legend(loc="lower left", frameon=False, fontsize=_legend_size(classes))
    return figure


def calibration(y: Labels, probability: Probabilities, classes: Classes = BINARY) -> Figure:
    """Reliability diagram: how often texts of a probability are positive, and how many there are.

    The bins are those of the expected calibration error. Of several classes, there is a curve for
    each, and the texts are counted by the probability of their prediction.
    """
    figure = _blank((5.2, 6.2))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    for panel in (upper, lower):
        _style(panel)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="Calibrated")
    for name, own, score, style in _against_rest(y, probability, classes):
        bins = calibration_bins(own, score)
        line = {**style, "linewidth": 1.5}
        upper.plot(bins.predicted, bins.observed, marker="o", label=name, **line)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    upper.legend(loc="upper left", frameon=False, fontsize=_legend_size(classes))
    shown = probability if classes.two else probability.max(axis=1)
    right = y if classes.two else classes.predicted(probability) == y
    _set_title(upper, f"Calibration (ECE {expected_calibration_error(right, shown):.3f})")
    lower.hist(shown, bins=ECE_BINS, range=(0, 1), color=SKY, edgecolor="white")
    positive = _drawable(classes.names[1])
    upper.set(ylabel="Share of positives" if classes == BINARY else "Share of the class")
    lower.set(xlabel=f"Probability of {positive if classes.two else 'the prediction'}")
    lower.set(ylabel="Texts")
    return figure


def optimisation_history(study: optuna.Study, metric: str = "value") -> Figure:
    """Value of every finished trial and the best one so far, in the order of the trials."""
    figure, axes = _figure("Optimisation history", "Trial", metric)
    trials = _completed(study)
    if not trials:
        return _message(axes, "No trial has finished.")
    numbers = [trial.number for trial in trials]
    values = np.array([trial.value for trial in trials], dtype=np.float64)
    maximise = study.direction == optuna.study.StudyDirection.MAXIMIZE
    best = np.maximum.accumulate(values) if maximise else np.minimum.accumulate(values)
    label = f"Best so far ({best[-1]:.4f})"
    axes.step(numbers, best, where="post", color=VERMILLION, linewidth=2, label=label)
    axes.plot(numbers, values, "o", color=BLUE, markersize=6, alpha=0.8, label="Trial")
    pruned = [t.number for t in study.get_trials(deepcopy=False) if t.state == TrialState.PRUNED]
    if pruned:
        # At the lower edge, as a pruned trial has no value to stand at.
        edge = axes.get_xaxis_transform()
        axes.plot(pruned, [0.02] * len(pruned), "x", color=GREY, transform=edge, label="Pruned")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.03, y=0.08)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def parameter_importance(study: optuna.Study) -> Figure:
    """How much each parameter explains of the values, as Optuna assesses it.

    With fewer than two finished trials, equal values everywhere or no parameter that all trials
    share there is nothing to assess, and the figure says so.
    """
    figure, axes = _figure("Parameter importance", "Share of the explained variation", "")
    trials = _completed(study)
    if len(trials) < 2:
        return _message(axes, "Needs at least two finished trials.")
    if len({trial.value for trial in trials}) == 1:
        return _message(axes, "All trials have the same value.")
    importance = _importance(study)
    if not importance:
        return _message(axes, "No parameter was varied in every trial.")
    names = list(importance)[::-1]
    shares = [importance[name] for name in names]
    bars = axes.barh(names, shares, color=BLUE, height=0.6)
    axes.bar_label(bars, labels=[f"{share:.2f}" for share in shares], padding=4, color=INK)
    axes.set_xlim(0, 1.12)
    axes.grid(False, axis="y")
    return figure


def slice_accuracy(metrics: Mapping[str, Metrics]) -> Figure:
    """Accuracy per slice, with Wilson's 95 % interval and the number of texts."""
    size = (6.6, 1.4 + 0.42 * len(metrics))
    figure, axes = _figure("Accuracy per slice", "Accuracy, with 95 % interval", "", size)
    if not metrics:
        return _message(axes, "No slice was evaluated.")
    names = [f"{name} (n = {each.n:,})" for name, each in metrics.items()]
    rows = range(len(names))
    values = np.array([each.accuracy for each in metrics.values()])
    axes.barh(rows, values, color=SKY, height=0.62)
    axes.set_yticks(rows, labels=names)
    low, high = wilson_interval(values, np.array([each.n for each in metrics.values()]))
    axes.errorbar(
        values, rows, xerr=(values - low, high - values), fmt="none", ecolor=INK, capsize=3
    )
    for row, value in zip(rows, values, strict=True):
        axes.text(0.02, row, f"{value:.1%}", va="center", color=INK)
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    return figure


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write each figure as `<name>.png` into `folder`, which is made if it is not there.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        canvas = FigureCanvasAgg(figure)
        with replaced_file(path) as fresh:
            canvas.print_png(fresh)
        paths.append(path)
    return paths


def plot_data(
    y: Labels,
    probability: Probabilities,
    folder: Path,
    classes: Classes = BINARY,
    threshold: float = POSITIVE_FROM,
) -> list[Path]:
    """Write figures, and the numbers behind them as CSV files, for `dvc plots`.

    DVC's page draws the numbers with a library that it loads from the internet; the figures, PNG
    files of the same names, need no network.

    `roc.csv` (fpr, tpr, threshold), `precision_recall.csv` (recall, precision, threshold),
    `calibration.csv` (predicted, observed, n) and `confusion.csv` (actual, predicted: one row
    per text, which DVC counts). The curves are thinned out to 1000 points; those of texts that
    all have the same label are empty. Of several classes, each against the rest, the first three
    have a further column, `class`.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    names = pl.Series(classes.names)
    predicted = classes.predicted(probability, threshold)
    confusion = pl.DataFrame(
        {"actual": names.gather(y.astype(np.int64)), "predicted": names.gather(predicted)}
    )
    frames = {
        "roc": _by_class(_roc_points, y, probability, classes),
        "precision_recall": _by_class(_precision_recall_points, y, probability, classes),
        "calibration": _by_class(_calibration_points, y, probability, classes),
        "confusion": confusion,
    }
    figures = {
        "roc": roc_curve(y, probability, classes),
        "precision_recall": precision_recall_curve(y, probability, classes),
        "calibration": calibration(y, probability, classes),
        "confusion": confusion_matrix(y, probability, classes, threshold),
    }
    tables = [_write_csv(frame, folder / f"{name}.csv") for name, frame in frames.items()]
    return tables + save_figures(figures, folder)


def _write_csv(frame: pl.DataFrame, path: Path) -> Path:
    with replaced_file(path) as fresh:
        frame.write_csv(fresh, float_precision=6)
    return path


def _by_class(
    points: Callable[[Labels, Probabilities], pl.DataFrame],
    y: Labels,
    probability: Probabilities,
    classes: Classes,
) -> pl.DataFrame:
    """Points of two classes, or of each of several against the rest, by the column `class`."""
    if classes.two:
        return points(y, probability)
    return pl.concat(
        points((y == number).astype(np.int8), column).with_columns(pl.lit(name).alias("class"))
        for number, (name, column) in enumerate(zip(classes.names, probability.T, strict=True))
    )


def _calibration_points(y: Labels, probability: Probabilities) -> pl.DataFrame:
    return pl.DataFrame(calibration_bins(y, probability)._asdict())


def _roc_points(y: Labels, probability: Probabilities) -> pl.DataFrame:
    if _one_class(y):
        return pl.DataFrame(schema=dict.fromkeys(("fpr", "tpr", "threshold"), pl.Float64))
    false_rate, true_rate, thresholds = sklearn.metrics.roc_curve(y, probability)
    # The first threshold is infinite: nothing is predicted positive there.
    points = {"fpr": false_rate, "tpr": true_rate, "threshold": np.minimum(thresholds, 1.0)}
    return _thinned(pl.DataFrame(points))


def _precision_recall_points(y: Labels, probability: Probabilities) -> pl.DataFrame:
    if _one_class(y):
        return pl.DataFrame(schema=dict.fromkeys(("recall", "precision", "threshold"), pl.Float64))
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(y, probability)
    # The last point, no text at all, has no threshold of its own.
    points = {"recall": recall, "precision": precision, "threshold": np.append(thresholds, 1.0)}
    return _thinned(pl.DataFrame(points))


def _thinned(points: pl.DataFrame) -> pl.DataFrame:
    """Evenly spread rows, the first and the last among them."""
    if points.height <= MAX_POINTS:
        return points
    return points[np.linspace(0, points.height - 1, MAX_POINTS).round().astype(np.int64)]


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _importance(study: optuna.Study) -> dict[str, float]:
    """Importance by parameter, largest first; empty where no parameter is in every trial."""
    if not optuna.search_space.intersection_search_space(_completed(study)):
        return {}
    return dict(optuna.importance.get_param_importances(study))


def _against_rest(
    y: Labels, probability: Probabilities, classes: Classes
) -> Iterator[tuple[str, Labels, Probabilities, dict[str, Any]]]:
    """Name, labels, probabilities and style of the curve of each class that occurs.

    Of two classes, there is one curve, called Model.
    """
    if classes.two:
        yield "Model", y, probability, {"color": BLUE, "linewidth": 2}
        return
    for number, name in enumerate(classes.names):
        own = (y == number).astype(np.int8)
        if own.any() and not own.all():
            colour, line = COLOURS[number % len(COLOURS)], _LINES[number // len(COLOURS) % 4]
            style = {"color": colour, "linestyle": line, "linewidth": 2}
            yield _drawable(name), own, probability[:, number], style


def _drawable(name: str) -> str:
    """The name, short and of characters that the fonts of figures have."""
    known = "".join(each if each.isascii() or each.isalpha() else "?" for each in name)
    return (known if len(known) <= 20 else known[:19] + "…").replace("$", r"\$")


def _legend_size(classes: Classes) -> float:
    return 10 if len(classes.names) < 4 else 8 if len(classes.names) < 10 else 5


def _one_class(y: Labels) -> bool:
    return len(np.unique(y)) < 2


def _figure(
    title: str,
    x_label: str,
    y_label: str,
    size: tuple[float, float] = (6.0, 4.2),
    *,
    square: bool = False,
) -> tuple[Figure, Axes]:
    """An empty figure in the common style; a square one has both axes from 0 to 1."""
    figure = _blank((5.0, 5.0) if square else size)
    axes = figure.subplots()
    _style(axes)
    _set_title(axes, title)
    axes.set(xlabel=x_label, ylabel=y_label)
    if square:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, axes


def _blank(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def _set_title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, color=INK)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=10)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _message(axes: Axes, text: str) -> Figure:
    """Turn a figure that has nothing to show into one that says why."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=INK, transform=axes.transAxes)
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure

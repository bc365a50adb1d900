"""How good probabilities are: one frozen set of metrics, per split and per slice."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from pipelines.errors import DataError, ModelError
from pipelines.labels import BINARY, POSITIVE_FROM, Classes

ECE_BINS: Final = 15

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

Predict = Callable[[Sequence[str]], NDArray[np.float64]]
"""From texts to their probabilities, as in `pipelines.labels`."""


class ClassMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How good predictions are for one of several classes."""

    precision: float
    recall: float
    f1: float
    ece: float
    """Expected calibration error of its probability, 0 to 1."""
    n: int
    """Number of texts with this label."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How predictions compare with labels.

    `positive` is the second of two classes. With more than two, precision, recall, F1 and the
    area under the ROC curve are means over the classes, each against the rest.
    """

    accuracy: float
    precision: float
    """0 when nothing was predicted positive."""
    recall: float
    """0 when nothing is positive."""
    f1: float
    """Of the positive class."""
    f1_macro: float
    """Mean of the F1 of the classes that occur among the labels or the predictions."""
    roc_auc: float | None
    """None when all labels are the same: the area is not defined then."""
    log_loss: float
    """In nats."""
    brier: float
    """Mean squared difference between probability and label, 0 to 1."""
    ece: float
    """Expected calibration error, 0 to 1; with more than two classes, of the confidence."""
    n: int
    """Number of texts."""
    positives: int | None
    """Number of texts labelled positive; None with more than two classes."""
    mae: float | None = None
    """Mean distance, in classes, of prediction and label; of more than two ordered classes."""
    kappa: float | None = None
    """Quadratically weighted kappa (Cohen 1968), 1 is perfect; of the same."""
    classes: dict[str, ClassMetrics] = {}
    """Of more than two classes."""

    def to_flat(self, prefix: str = "") -> dict[str, float]:
        """Numbers by dotted names, `test.accuracy`, for MLflow and DVC.

        A metric that is not defined is left out, as neither of them can store a missing number.
        """
        start = f"{prefix}." if prefix else ""
        values = msgspec.structs.asdict(self)
        values |= {
            f"class.{_metric_name(name, number)}.f1": found.f1
            for number, (name, found) in enumerate(values.pop("classes").items())
        }
        return {f"{start}{name}": value for name, value in values.items() if value is not None}


def _metric_name(name: str, number: int) -> str:
    """The class's name, if MLflow takes it as part of a metric's, else its number."""
    return name if _PLAIN.fullmatch(name) else str(number)


class CalibrationBins(NamedTuple):
    """Texts by their probability: one entry, shape (bins,), for each bin that holds any."""

    predicted: NDArray[np.float64]
    """Mean probability of the bin."""
    observed: NDArray[np.float64]
    """Share of positive texts."""
    n: NDArray[np.int64]
    """Number of texts."""


def expected_calibration_error(
    y: NDArray[np.int8], probability: NDArray[np.float64], bins: int = ECE_BINS
) -> float:
    r"""Mean gap between how sure the model is and how often it is right.

    The probabilities are sorted into `bins` bins of equal width. With :math:`n_b` of the
    :math:`n` texts in bin :math:`b`, :math:`o_b` the share of positive ones among them and
    :math:`e_b` their mean probability,

    .. math:: ECE = \sum_b \frac{n_b}{n} \lvert o_b - e_b \rvert

    Parameters
    ----------
    y : ndarray of int8, shape (n,)
        0 for negative, 1 for positive.
    probability : ndarray of float64, shape (n,)
        Probability of positive.
    bins : int
        Number of bins.

    Returns
    -------
    float
        0 (calibrated) to 1.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015): Obtaining Well Calibrated Probabilities Using Bayesian
    Binning. AAAI.
    """
    filled = calibration_bins(y, probability, bins)
    gaps = np.abs(filled.observed - filled.predicted)
    return float((filled.n * gaps).sum() / len(y))


def calibration_bins(
    y: NDArray[np.int8], probability: NDArray[np.float64], bins: int = ECE_BINS
) -> CalibrationBins:
    """Sort probabilities, shape (n,), into bins of equal width; bins without any are left out."""
    bin_of = np.minimum((probability * bins).astype(np.int64), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    used = counts > 0
    sums = (np.bincount(bin_of, weights=each, minlength=bins) for each in (probability, y))
    predicted, observed = (each[used] / counts[used] for each in sums)
    return CalibrationBins(predicted, observed, counts[used])


def wilson_interval(
    share: NDArray[np.float64], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's 95 % score interval of a share of `n` (Wilson 1927, JASA 22)."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def evaluate(
    y: NDArray[np.int8],
    probability: NDArray[np.float64],
    classes: Classes = BINARY,
    threshold: float = POSITIVE_FROM,
) -> Metrics:
    """Compare probabilities with labels.

    Parameters
    ----------
    y : ndarray of int8, shape (n,)
        Numbers of classes.
    probability : ndarray of float64, shape (n,) or (n, n_classes)
        As in `pipelines.labels`.
    classes : Classes
    threshold : float
        With two classes, a text counts as predicted positive from this probability on.

    Raises
    ------
    DataError
        If there is no text, or a label is not the number of a class.
    ModelError
        If a probability is missing, not a number or outside 0 to 1.
    """
    if len(y) == 0:
        raise DataError("There is no labelled text to evaluate on.")
    check_predictions(y, probability, classes)
    predicted = classes.predicted(probability, threshold)
    values: dict[str, Any] = {
        **_precision_and_recall(y, predicted, classes),
        **label_metrics(y, predicted, classes),
        **(_binary if classes.two else _multinomial)(y, probability, classes),
    }
    return Metrics(**values, roc_auc=roc_auc(y, probability), n=len(y))


def label_metrics(
    y: NDArray[np.int8], predicted: NDArray[np.int8], classes: Classes
) -> dict[str, float]:
    """Metrics that need no probabilities, by the names of `Metrics`."""
    found = {
        "accuracy": float(accuracy_score(y, predicted)),
        "f1": float(f1_score(y, predicted, average=_average(classes), zero_division=0)),
        "f1_macro": float(f1_score(y, predicted, average="macro", zero_division=0)),
    }
    if classes.ordered and not classes.two:
        found["mae"] = float(np.abs(y.astype(np.float64) - predicted).mean())
        if np.unique([y, predicted]).size > 1:  # else it is not defined
            found["kappa"] = float(cohen_kappa_score(y, predicted, weights="quadratic"))
    return found


def roc_auc(y: NDArray[np.int8], scores: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve; of scores of shape (n, n_classes), the mean over the classes.

    Classes that no text or all texts have are left out; None if that leaves none.
    """
    if scores.ndim == 1:
        return float(roc_auc_score(y, scores)) if 0 < int(y.sum()) < len(y) else None
    areas = [
        roc_auc_score(y == number, column)
        for number, column in enumerate(scores.T)
        if 0 < (y == number).sum() < len(y)
    ]
    return float(np.mean(areas)) if areas else None


def _average(classes: Classes) -> str:
    return "binary" if classes.two else "macro"


def _precision_and_recall(
    y: NDArray[np.int8], predicted: NDArray[np.int8], classes: Classes
) -> dict[str, float]:
    average = _average(classes)
    return {
        "precision": float(precision_score(y, predicted, average=average, zero_division=0)),
        "recall": float(recall_score(y, predicted, average=average, zero_division=0)),
    }


def _binary(
    y: NDArray[np.int8], probability: NDArray[np.float64], classes: Classes
) -> dict[str, Any]:
    return {
        "log_loss": float(log_loss(y, probability, labels=[0, 1])),
        "brier": float(brier_score_loss(y, probability, labels=[0, 1])),
        "ece": expected_calibration_error(y, probability),
        "positives": int(y.sum()),
    }


def _multinomial(
    y: NDArray[np.int8], probability: NDArray[np.float64], classes: Classes
) -> dict[str, Any]:
    numbers = np.arange(len(classes.names))
    own = (y[:, np.newaxis] == numbers).astype(np.int8)
    predicted = classes.predicted(probability)
    scores = [
        score(y, predicted, labels=numbers, average=None, zero_division=0)
        for score in (precision_score, recall_score, f1_score)
    ]
    return {
        "log_loss": float(log_loss(y, probability, labels=numbers)),
        "brier": float(((probability - own) ** 2).sum(axis=1).mean() / 2),
        "ece": expected_calibration_error(predicted == y, probability.max(axis=1)),
        "positives": None,
        "classes": {
            name: ClassMetrics(
                precision=float(scores[0][number]),
                recall=float(scores[1][number]),
                f1=float(scores[2][number]),
                ece=expected_calibration_error(own[:, number], probability[:, number]),
                n=int(own[:, number].sum()),
            )
            for number, name in enumerate(classes.names)
        },
    }


def check_predictions(
    y: NDArray[np.int8], probability: NDArray[np.float64], classes: Classes = BINARY
) -> None:
    """Raise an error for labels or probabilities that are none; see `evaluate`."""
    count = len(classes.names)
    if not np.isin(y, np.arange(count)).all():
        numbers = "0 (negative) or 1 (positive)" if count == 2 else f"0 to {count - 1}"
        raise DataError(f"Labels must be {numbers} to evaluate on them.")
    if probability.shape != (y.shape if classes.two else (len(y), count)):
        raise ModelError(f"The model gave {probability.size} probabilities for {len(y)} texts.")
    # Written so that NaN fails it too.
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ModelError("The model gave a probability that is not a number between 0 and 1.")


def evaluate_slices(
    slices: Mapping[str, pl.DataFrame],
    predict: Predict,
    classes: Classes = BINARY,
    threshold: float = POSITIVE_FROM,
) -> dict[str, Metrics]:
    """Evaluate one model on several slices of the data.

    Slices overlap, so every distinct text is predicted once, whatever the number of slices it is
    in. A slice without any text is left out of the answer.

    Parameters
    ----------
    slices : mapping of str to DataFrame
        By name, with the columns `text` (String) and `label` (numbers of classes).
    predict : callable
        Gives the probabilities for a list of n texts, as in `pipelines.labels`.
    classes : Classes
    threshold : float
        As for `evaluate`.

    Raises
    ------
    DataError
        If no slice holds any text.
    ModelError
        If `predict` does not answer with probabilities.
    """
    filled = {name: frame for name, frame in slices.items() if frame.height}
    if not filled:
        raise DataError("There is no labelled text to evaluate on.")
    texts = pl.concat([frame["text"] for frame in filled.values()]).unique(maintain_order=True)
    probability = np.asarray(predict(texts.to_list()), dtype=np.float64)
    if len(probability) != len(texts):
        raise ModelError(f"The model gave {probability.size} probabilities for {len(texts)} texts.")
    rows = pl.DataFrame({"text": texts}).with_row_index("row")

    def evaluate_slice(frame: pl.DataFrame) -> Metrics:
        joined = frame.join(rows, on="text", how="left", maintain_order="left")
        labels = joined["label"].cast(pl.Int8).to_numpy()
        return evaluate(labels, probability[joined["row"].to_numpy()], classes, threshold)

    return {name: evaluate_slice(frame) for name, frame in filled.items()}

"""How good probabilities are: one frozen set of metrics, per split and per slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from pipelines.errors import DataError, ModelError

ECE_BINS: Final = 15

Predict = Callable[[Sequence[str]], NDArray[np.float64]]
"""From texts to the probabilities that they are positive, shape (n,)."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """How predictions compare with labels; `positive` is the class that precision is about."""

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
    """Expected calibration error, 0 to 1."""
    n: int
    """Number of texts."""
    positives: int
    """Number of texts labelled positive."""

    def to_flat(self, prefix: str = "") -> dict[str, float]:
        """Numbers by dotted names, `test.accuracy`, for MLflow and DVC.

        A metric that is not defined is left out, as neither of them can store a missing number.
        """
        start = f"{prefix}." if prefix else ""
        values = msgspec.structs.asdict(self)
        return {f"{start}{name}": value for name, value in values.items() if value is not None}


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


def evaluate(
    y: NDArray[np.int8], probability: NDArray[np.float64], threshold: float = 0.5
) -> Metrics:
    """Compare probabilities with labels.

    Parameters
    ----------
    y : ndarray of int8, shape (n,)
        0 for negative, 1 for positive.
    probability : ndarray of float64, shape (n,)
        Probability of positive.
    threshold : float
        A text counts as predicted positive from this probability on.

    Raises
    ------
    DataError
        If there is no text, or a label is neither 0 nor 1.
    ModelError
        If a probability is missing, not a number or outside 0 to 1.
    """
    _check(y, probability)
    predicted = (probability >= threshold).astype(np.int8)
    positives = int(y.sum())
    return Metrics(
        accuracy=float(accuracy_score(y, predicted)),
        precision=float(precision_score(y, predicted, zero_division=0)),
        recall=float(recall_score(y, predicted, zero_division=0)),
        f1=float(f1_score(y, predicted, zero_division=0)),
        f1_macro=float(f1_score(y, predicted, average="macro", zero_division=0)),
        roc_auc=float(roc_auc_score(y, probability)) if 0 < positives < len(y) else None,
        log_loss=float(log_loss(y, probability, labels=[0, 1])),
        brier=float(brier_score_loss(y, probability, labels=[0, 1])),
        ece=expected_calibration_error(y, probability),
        n=len(y),
        positives=positives,
    )


def _check(y: NDArray[np.int8], probability: NDArray[np.float64]) -> None:
    if len(y) == 0:
        raise DataError("There is no labelled text to evaluate on.")
    if not np.isin(y, (0, 1)).all():
        raise DataError("Labels must be 0 (negative) or 1 (positive) to evaluate on them.")
    if probability.shape != y.shape:
        raise ModelError(f"The model gave {probability.size} probabilities for {len(y)} texts.")
    # Written so that NaN fails it too.
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ModelError("The model gave a probability that is not a number between 0 and 1.")


def evaluate_slices(
    slices: Mapping[str, pl.DataFrame], predict: Predict, threshold: float = 0.5
) -> dict[str, Metrics]:
    """Evaluate one model on several slices of the data.

    Slices overlap, so every distinct text is predicted once, whatever the number of slices it is
    in. A slice without any text is left out of the answer.

    Parameters
    ----------
    slices : mapping of str to DataFrame
        By name, with the columns `text` (String) and `label` (0 or 1).
    predict : callable
        Gives the probabilities of positive, shape (n,), for a list of n texts.
    threshold : float
        A text counts as predicted positive from this probability on.

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
    if probability.shape != (len(texts),):
        raise ModelError(f"The model gave {probability.size} probabilities for {len(texts)} texts.")
    predicted = pl.DataFrame({"text": texts, "probability": probability})
    return {name: _evaluate_slice(frame, predicted, threshold) for name, frame in filled.items()}


def _evaluate_slice(frame: pl.DataFrame, predicted: pl.DataFrame, threshold: float) -> Metrics:
    joined = frame.join(predicted, on="text", how="left", maintain_order="left")
    labels = joined["label"].cast(pl.Int8).to_numpy()
    return evaluate(labels, joined["probability"].to_numpy(), threshold)

"""The metrics of `evaluation`, of any number of texts in memory that does not grow with them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.labels import BINARY, Classes
from pipelines.training.evaluation import ECE_BINS, ClassMetrics, Metrics, check_predictions

_STEPS_OF_TWO: Final = 1 << 20
_STEPS_OF_MORE: Final = 1 << 16
"""Steps of the log odds, of two classes and for each of more; probabilities of the same step count
as equal in the area under ROC."""
_MOST: Final = 20.0
"""Log odds from which on all are alike: a probability of 1 - 2e-9."""
_TINY: Final = float(np.finfo(np.float64).eps)


class Tally:
    """Counts and sums over labels and probabilities, batch by batch.

    All metrics are those of `evaluation.evaluate` to rounding, but the area under the ROC curve,
    for which probabilities are sorted into steps of the log odds: 0.00004, or 0.0006 with more than
    two classes.

    Parameters
    ----------
    classes : Classes
    """

    def __init__(self, classes: Classes = BINARY) -> None:
        self._classes = classes
        count = len(classes.names)
        # What stands for itself: the second of two classes, each of more.
        columns, steps = (1, _STEPS_OF_TWO) if classes.two else (count, _STEPS_OF_MORE)
        self._confusion = np.zeros((count, count), np.int64)
        self._ranks = np.zeros((columns, 2, steps), np.int64)
        self._bins = np.zeros((columns, 2, ECE_BINS))
        self._confidence_bins = np.zeros((2, ECE_BINS))
        self._log_loss = self._brier = 0.0

    def add(self, y: NDArray[np.int8], probability: NDArray[np.float64]) -> None:
        """Count n more texts.

        Parameters
        ----------
        y : ndarray of int8, shape (n,)
            Numbers of classes.
        probability : ndarray of float64, shape (n,) or (n, n_classes)
            As in `pipelines.labels`.

        Raises
        ------
        DataError, ModelError
            As `evaluation.evaluate`.
        """
        classes = self._classes
        check_predictions(y, probability, classes)
        predicted = classes.predicted(probability)
        np.add.at(self._confusion, (y, predicted), 1)
        each = classes.each(probability)
        own = y[:, np.newaxis] == np.arange(len(classes.names))
        self._log_loss -= float(np.log(np.clip(each[own], _TINY, 1 - _TINY)).sum())
        self._brier += float(((each - own) ** 2).sum()) / 2
        for column in range(len(self._bins)):
            number = 1 if classes.two else column
            _count_ranks(self._ranks[column], own[:, number], each[:, number])
            _count_bins(self._bins[column], own[:, number], each[:, number])
        _count_bins(self._confidence_bins, predicted == y, each.max(axis=1))

    def metrics(self) -> Metrics:
        """Of all texts so far; a `DataError` if there is none."""
        n = int(self._confusion.sum())
        if n == 0:
            raise DataError("There is no labelled text to evaluate on.")
        two = self._classes.two
        right = np.diag(self._confusion)
        labelled, predicted = self._confusion.sum(axis=1), self._confusion.sum(axis=0)
        precision, recall = _shares(right, predicted), _shares(right, labelled)
        f1 = _shares(2 * right, labelled + predicted)
        occurs = labelled + predicted > 0
        averaged = [1] if two else occurs
        own_ece = np.abs(self._bins[:, 0] - self._bins[:, 1]).sum(axis=1) / n
        confidence_ece = np.abs(self._confidence_bins[0] - self._confidence_bins[1]).sum() / n
        mae, kappa = self._distances(occurs)
        by_class = (
            {}
            if two
            else {
                name: ClassMetrics(
                    precision=float(precision[number]),
                    recall=float(recall[number]),
                    f1=float(f1[number]),
                    ece=float(own_ece[number]),
                    n=int(labelled[number]),
                )
                for number, name in enumerate(self._classes.names)
            }
        )
        return Metrics(
            accuracy=float(right.sum() / n),
            precision=float(precision[averaged].mean()),
            recall=float(recall[averaged].mean()),
            f1=float(f1[averaged].mean()),
            f1_macro=float(f1[occurs].mean()),
            roc_auc=self._area(),
            log_loss=self._log_loss / n,
            brier=self._brier / n,
            ece=float(own_ece[0] if two else confidence_ece),
            n=n,
            positives=int(labelled[1]) if two else None,
            mae=mae,
            kappa=kappa,
            classes=by_class,
        )

    def _area(self) -> float | None:
        """Mean over the columns whose area is defined."""
        areas = [_area(*ranks) for ranks in self._ranks.astype(np.float64) if ranks.any(1).all()]
        return float(np.mean(areas)) if areas else None

    def _distances(self, occurs: NDArray[np.bool_]) -> tuple[float | None, float | None]:
        """Mean distance and quadratic kappa of more than two ordered classes."""
        if self._classes.two or not self._classes.ordered:
            return None, None
        numbers = np.arange(len(occurs))
        distance = np.abs(numbers[:, np.newaxis] - numbers)
        mae = float((distance * self._confusion).sum() / self._confusion.sum())
        # As scikit-learn does it, classes that do not occur take no place.
        found = self._confusion[occurs][:, occurs].astype(np.float64)
        if len(found) == 1:
            return mae, None
        weights = distance[: len(found), : len(found)] ** 2
        expected = np.outer(found.sum(axis=1), found.sum(axis=0)) / found.sum()
        return mae, float(1 - (weights * found).sum() / (weights * expected).sum())


def _count_ranks(
    ranks: NDArray[np.int64], own: NDArray[np.bool_], probability: NDArray[np.float64]
) -> None:
    safe = np.clip(probability, _TINY, 1 - _TINY)
    log_odds = np.clip(np.log(safe) - np.log1p(-safe), -_MOST, _MOST)
    steps = ((log_odds + _MOST) / (2 * _MOST) * (ranks.shape[1] - 1)).astype(np.int64)
    np.add.at(ranks, (own.astype(np.int8), steps), 1)


def _count_bins(
    bins: NDArray[np.float64], own: NDArray[np.bool_], probability: NDArray[np.float64]
) -> None:
    bin_of = np.minimum((probability * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    for row, weights in enumerate((own.astype(np.float64), probability)):
        bins[row] += np.bincount(bin_of, weights=weights, minlength=ECE_BINS)


def _area(others: NDArray[np.float64], own: NDArray[np.float64]) -> float:
    """Share of pairs of a text of the class and another in the right order; a tie is half."""
    below = np.cumsum(others) - others
    return float((own * (below + others / 2)).sum() / (own.sum() * others.sum()))


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> NDArray[np.float64]:
    """0 where there is no whole."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)

"""Metrics as table rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipelines.training.evaluation import Metrics

METRIC_COLUMNS: Final = ["slice", "n", "accuracy", "f1", "roc_auc", "log_loss", "ece"]


def metric_rows(metrics: Mapping[str, Metrics]) -> list[tuple[object, ...]]:
    """A row for each slice, in the order of `METRIC_COLUMNS`."""
    return [
        (name, m.n, m.accuracy, m.f1, m.roc_auc, m.log_loss, m.ece) for name, m in metrics.items()
    ]

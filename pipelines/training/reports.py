"""Reports of training in ``data/reports/``, for DVC and for later commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from pipelines.config.settings import Settings
from pipelines.files import write_file
from pipelines.training.adaptation import Kind
from pipelines.training.evaluation import Metrics
from pipelines.training.subjects import Value

BASELINES: Final = "baselines.json"
TUNED: Final = "tuned.json"

T = TypeVar("T", bound=msgspec.Struct)


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of `olens tune`."""

    model_id: str
    run_id: str
    study: str
    subject: str
    start: str | None = None
    """The model that it started from."""
    learnt: Kind | None = None
    """What was best: the start as it is, a model from scratch, or both together."""
    parameters: dict[str, Value]
    metric: str
    value: float
    """Of the best trial, on the validation split."""
    trials: int
    """Finished ones, pruned ones included."""
    datasets: list[str]
    test: dict[str, Metrics]


class Baselines(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of `olens baselines`: metrics by baseline and slice."""

    run_id: str
    datasets: list[str]
    metrics: dict[str, dict[str, Metrics]]


def write_report(settings: Settings, name: str, report: msgspec.Struct | dict[str, object]) -> Path:
    """Write `report` as JSON, whole or not at all; returns the file."""
    path = settings.paths.reports / name
    write_file(path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return path


def read_tuned(settings: Settings) -> Tuned | None:
    """What the last `olens tune` found, if there was one."""
    return _read(settings.paths.reports / TUNED, Tuned)


def read_baselines(settings: Settings, datasets: Sequence[str]) -> dict[str, Metrics]:
    """Test metrics of the baselines, if they were run on the same data sets."""
    found = _read(settings.paths.reports / BASELINES, Baselines)
    if found is None or sorted(found.datasets) != sorted(datasets):
        return {}
    return {name: slices["test"] for name, slices in found.metrics.items() if "test" in slices}


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None

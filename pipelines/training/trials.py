"""The fits of a study's trials: in this process, or spread over a Ray cluster.

On a cluster the features lie in Ray's object store, which maps them into memory once a node. Only
the process of `olens tune` speaks to Optuna and MLflow, so a node that is lost leaves nothing
half-done there: Ray gives its fits to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, cast

import msgspec

from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_classifier, subset, validation_metrics
from pipelines.training.spreading import ray_workers
from pipelines.training.subjects import Parameters, Subject

FIRST_LOOK: Final = 0.25
"""Share of the train texts a trial is first fitted on; the pruner stops it there if it lags."""

Fit = Callable[[Parameters, bool], dict[str, float]]
"""Validation metrics of a fit with these parameters; true: on the first look's texts only."""


class Trials(msgspec.Struct, frozen=True):
    """What all fits of a study have in common."""

    subject: Subject
    seed: int
    calibrated: bool

    def metrics(self, parameters: Parameters, train: Labelled, val: Labelled) -> dict[str, float]:
        """Fit on `train`; metrics on `val`."""
        found = fit_classifier(self.subject, parameters, self.seed, train, self.calibrated)
        return validation_metrics(found, val)


def local_fit(trials: Trials, train: Labelled, val: Labelled, jobs: int) -> Fit:
    """Fits in this process, of which there are `jobs` at a time."""
    train = train.within(1 / jobs)
    first_look = subset(train, FIRST_LOOK)

    def fit(parameters: Parameters, first: bool) -> dict[str, float]:
        return trials.metrics(parameters, first_look if first else train, val)

    return fit


@contextmanager
def ray_fit(
    trials: Trials, train: Labelled, val: Labelled, address: str | None
) -> Iterator[tuple[Fit, int]]:
    """Fits on a Ray cluster, and how many of them it can make at a time.

    Raises
    ------
    MissingExtraError, ClusterError
        As `ray_cluster`.
    """
    with ray_workers(address) as workers:
        # Not as values: Ray would copy them for every task.
        own, val_data = workers.put(trials), workers.put(val)
        data = {True: workers.put(subset(train, FIRST_LOOK)), False: workers.put(train)}

        def fit(parameters: Parameters, first: bool) -> dict[str, float]:
            [found] = workers.call(Trials.metrics, own, dict(parameters), data[first], val_data)
            return cast(dict[str, float], workers.get(found))

        yield fit, workers.count

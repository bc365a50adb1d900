"""The fits of a study's trials: in this process, or spread over a Ray cluster.

On a cluster the features lie in Ray's object store, which maps them into memory once a node. Only
the process of `olens tune` speaks to Optuna and MLflow, so a node that is lost leaves nothing
half-done there: Ray gives its fits to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from pipelines.ray_cluster import ray_cluster, ray_errors
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_classifier, subset, validation_metrics
from pipelines.training.stopping import stop_flag
from pipelines.training.subjects import Parameters, Subject

FIRST_LOOK: Final = 0.25
"""Share of the train texts a trial is first fitted on; the pruner stops it there if it lags."""
_POLL: Final = 0.1
"""Seconds between two looks for Ctrl-C while the cluster works."""

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


def local_fit(trials: Trials, train: Labelled, val: Labelled) -> Fit:
    """Fits in this process."""
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
    with ray_cluster(address) as cpus:
        import ray

        task = ray.remote(num_cpus=1)(Trials.metrics)
        # Not as values: Ray would copy them for every task.
        own, val_data = ray.put(trials), ray.put(val)
        data = {True: ray.put(subset(train, FIRST_LOOK)), False: ray.put(train)}

        def fit(parameters: Parameters, first: bool) -> dict[str, float]:
            with ray_errors():
                found = task.remote(own, dict(parameters), data[first], val_data)
                while not ray.wait([found], timeout=_POLL)[0]:
                    if stop_flag()[0]:
                        ray.cancel(found, force=True)
                        raise KeyboardInterrupt
                metrics: dict[str, float] = ray.get(found)
                return metrics

        yield fit, cpus

"""A Ray cluster: the one at an address, or one of this machine for as long as it is needed."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from pipelines.errors import ClusterError, MissingExtraError, OpinionLensError

EngineName = Literal["local", "ray"]
"""What does the work: this process, or a Ray cluster."""

_PATIENCE: Final = 10.0
"""Seconds in which a cluster must take a connection."""


_HINT: Final = (
    ". If it asks for a token, set RAY_AUTH_MODE=token; from a machine of the cluster, "
    "HOST:6379 does without"
)


def is_client(address: str | None) -> bool:
    """Whether one connects from outside, through Ray's client server."""
    return (address or os.environ.get("RAY_ADDRESS", "")).startswith("ray://")


@contextmanager
def ray_cluster(address: str | None) -> Iterator[int]:
    """Connect to a cluster during the block; gives the number of its CPUs.

    Parameters
    ----------
    address : str or None
        ``auto``, ``HOST:PORT`` or ``ray://HOST:10001``. None: that of ``RAY_ADDRESS``, else a
        cluster of this machine alone, which ends with the block.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    ClusterError
        If the cluster cannot be reached.
    OpinionLensError
        As in `ray_errors`.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports to its makers
    try:
        _knock(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # of many kinds, by what is wrong with the address
        where = f"Ray cluster {address}" if address else "Ray"
        hint = _HINT if is_client(address) and "timeout" in _said(error) else ""
        raise ClusterError(f"{where} cannot be reached or started: {_said(error)}{hint}") from None
    try:
        with ray_errors():
            yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


@contextmanager
def ray_errors() -> Iterator[None]:
    """Raise what a task of ours raised in the cluster, out of what Ray puts around it.

    Raises
    ------
    OpinionLensError
        What the task raised; `ClusterError` for what is wrong with the cluster itself.
    """
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise _own(error) or ClusterError(f"The Ray cluster failed: {_said(error)}") from error


def _knock(address: str) -> None:
    """Raise an `OSError` at once if nothing listens there; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _own(error: BaseException | None) -> OpinionLensError | None:
    """The error of ours in a chain of causes."""
    while error is not None and not isinstance(error, OpinionLensError):
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
    return error


def _said(error: Exception) -> str:
    """The last line, which says what went wrong behind the traceback of another process."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()[:300]

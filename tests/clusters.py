"""Ray clusters of several nodes on one machine, each of processes of its own; and Spark."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import pytest

from tests.support import require

_STORE: Final = 150 << 20
"""Bytes of each node's object store."""


@contextmanager
def ray_nodes(count: int, cpus: int = 2) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of nodes; the first is the head, on which nothing else runs."""
    require(find_spec("ray"), "ray is not installed")
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0,
        "object_store_memory": _STORE,
        "_system_config": {
            # A dead node is noticed after five misses: 5 seconds, not 15.
            "health_check_period_ms": 1000,
            # A node starts no workers before it has work: two processors are not soon done.
            "prestart_worker_first_driver": False,
        },
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=cpus, object_store_memory=_STORE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def kill_node(cluster: Any) -> None:
    """Kill the processes of the node that was added last."""
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)


@contextmanager
def spark_session() -> Iterator[Any]:
    """Spark in this process, with two workers."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("opinionlens")
    for key, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }.items():
        builder = builder.config(key, value)
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Otherwise the workers are the first python3 of the PATH.
        monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
        ctrl_c = signal.getsignal(signal.SIGINT)
        session = builder.getOrCreate()
        signal.signal(signal.SIGINT, ctrl_c)  # Spark puts its own in the place
        try:
            yield session
        finally:
            session.stop()

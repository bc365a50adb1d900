"""One round of the shortest attacks of ``make chaos``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.campaign import run, target
from tests.chaos.hostile_clients import CLIENTS
from tests.chaos.hostile_models import MODELS
from tests.chaos.moments import MOMENTS
from tests.support import require

SHORT = (
    "400 stalled connections",
    "bodies that are dear to read",
    "odd requests",
    "models of dear estimators",
    "a folder of models that goes and comes",
    "switches of the model",
    "kill -9 of a worker",
    "a full disk of TMPDIR",
    "workers that cannot start",
    "SIGTERM with half-sent requests",
    "kill -9 of the supervisor",
)
"""What has no test of its own, and the shortest attacks of each kind."""


@pytest.mark.slow
def test_nothing_hurts(tmp_path: Path) -> None:
    require(sys.platform == "linux", "the campaign looks at processes in /proc, which is Linux's")
    attacks = CLIENTS | MODELS | MOMENTS
    with target(tmp_path) as victim:
        failures = [
            each
            for outcome in run({name: attacks[name] for name in SHORT}, victim, 1)
            for each in outcome.failures
        ]
    assert failures == []

"""One round of ``make chaos``, without what takes long and shows only in its table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.campaign import run, target
from tests.chaos.hostile_clients import CLIENTS
from tests.chaos.hostile_models import MODELS
from tests.chaos.moments import MOMENTS
from tests.support import require

LONG = (
    "eight clients",
    "active.json",
    "damaged files",
    "impossible numbers",
    "bombs",
    "people label",  # test_label_store kills writers, test_killed_browser those who press
)


@pytest.mark.slow
def test_nothing_hurts(tmp_path: Path) -> None:
    require(sys.platform == "linux", "the campaign looks at processes in /proc, which is Linux's")
    attacks = {
        name: attack
        for name, attack in (CLIENTS | MODELS | MOMENTS).items()
        if not any(word in name for word in LONG)
    }
    with target(tmp_path) as victim:
        failures = [each for outcome in run(attacks, victim, 1) for each in outcome.failures]
    assert failures == []

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.datasets.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("OLENS_ROOT", str(tmp_path))
    return Project(tmp_path)

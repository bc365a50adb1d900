"""The running service against what its OpenAPI document says, by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipelines.cache.model_cache import ModelCache
from tests.serving import Service, install_linear, serve
from tests.support import PATIENCE, require

# 413 is what a text that is too long gets, and 5xx is never fine.
CONFIG = """
[checks]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "413", "429"]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "413", "429"]

# Any bytes are a body, but not any bytes are a file of rows.
[[operations]]
include-path = "/api/v1/inference/file_predict"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "413", "429"]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    require(find_spec("schemathesis"), "schemathesis is not installed")
    root = tmp_path_factory.mktemp("project")
    for version in (1, 2):
        install_linear(root / "models", version, 1.0)
    ModelCache(root / "models").activate("reviews-v1")
    with serve(root, env={"OLENS_SERVING__FEEDBACK": "true"}) as service:
        yield service


@pytest.mark.parametrize("admin", [False, True], ids=["anybody", "admin"])
def test_no_answer_is_undocumented(service: Service, admin: bool, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    header = ["--header", f"Authorization: Bearer {service.token}"] if admin else []
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/schema"),
            *("--checks", "all", "--max-examples", "15", "--seed", "1"),
            *("--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"),
            *header,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-5000:]
    assert "Tested: 20" in ended.stdout

"""axe-core, the engine of the usual accessibility checkers, run in a page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support import require


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script; it is installed for the test only."""
    npm = shutil.which("npm")
    require(npm, "npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    installed = subprocess.run(
        [
            str(npm),
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--prefix",
            folder,
            "axe-core",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    require(script.is_file(), f"axe-core cannot be installed: {installed.stderr[-300:]}")
    return Path(script).read_text()


def violations(page: Page, axe: str) -> list[str]:
    """What axe finds in the page, with the elements."""
    # Evaluated by the browser's debugger: the policy of the page would refuse a script element.
    page.evaluate(axe)
    found = page.evaluate("axe.run().then((found) => found.violations)")
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]}"
        for each in found
        for node in each["nodes"]
    ]

"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The first example of a test may wait for Numba or an import.
settings.register_profile("opinionlens", deadline=None)
settings.load_profile("opinionlens")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured: what a worker of xdist prints is seen by nobody."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "measured" and report.when == "call":
                terminalreporter.write_line(f"measured: {value}")

"""Fixtures of the tests that need processes or services."""

from __future__ import annotations

from tests.integration.services import registry_server
from tests.integration.tracked import tracked

__all__ = ["registry_server", "tracked"]

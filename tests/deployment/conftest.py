"""Fixtures of the tests on a real engine."""

from __future__ import annotations

from tests.integration.tracked import tracked

__all__ = ["tracked"]

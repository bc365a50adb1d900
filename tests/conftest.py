"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# The first example of a test may wait for Numba or an import.
settings.register_profile("opinionlens", deadline=None)
settings.load_profile("opinionlens")

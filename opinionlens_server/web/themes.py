"""The colour theme: the visitor's choice, or else that of the system.

The choice is a cookie, so the server can render it: the page does not flash, and it works without
JavaScript.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Request
from litestar.datastructures import Cookie

COOKIE: Final = "theme"
SYSTEM: Final = "system"
THEMES: Final = (SYSTEM, "light", "dark")
YEAR: Final = 365 * 24 * 3600


def chosen_theme(request: Request[Any, Any, Any]) -> str:
    """One of :data:`THEMES`."""
    chosen = request.cookies.get(COOKIE, SYSTEM)
    return chosen if chosen in THEMES else SYSTEM


def theme_cookie(theme: str) -> Cookie:
    """The cookie for a choice; following the system needs none."""
    kept = YEAR if theme in THEMES and theme != SYSTEM else 0
    return Cookie(key=COOKIE, value=theme if kept else "", max_age=kept, samesite="lax")

"""Jinja2 set up for our templates, and static files whose address changes with their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar.datastructures import CacheControlHeader
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.router import Router
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

from opinionlens_server.charts import bars
from opinionlens_server.themes import chosen_theme

PACKAGE: Final = Path(__file__).parent
STATIC: Final = PACKAGE / "static"

HTMX_CONFIG: Final = {
    # The Content-Security-Policy forbids both.
    "includeIndicatorStyles": False,
    "allowEval": False,
    # Error answers carry a message for the same place on the page.
    "responseHandling": [{"code": "204", "swap": False}, {"code": "...", "swap": True}],
}


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """Templates that escape everything and stumble over undefined names."""
    environment = Environment(
        loader=FileSystemLoader(PACKAGE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        app_version=version("opinionlens"),
        htmx_config=msgspec.json.encode(HTMX_CONFIG).decode(),
        static=_static_address(),
        bars=bars,
        chosen_theme=chosen_theme,
    )
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


def static_files() -> Router:
    """The route of the static files."""
    return create_static_files_router(
        path="/static",
        directories=[STATIC],
        cache_control=CacheControlHeader(max_age=3600, public=True),
    )


def _static_address() -> Callable[[str], str]:
    """Addresses with a digest of the content, so that browsers may keep what does not change."""
    digests = {
        path.relative_to(STATIC).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in STATIC.rglob("*")
        if path.is_file()
    }

    def address(name: str) -> str:
        return f"/static/{name}?v={digests.get(name, '')}"

    return address

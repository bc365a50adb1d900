"""Pages made of Jinja2 templates, and static files whose URL changes with their content."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar.datastructures import CacheControlHeader
from litestar.enums import MediaType
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.router import Router
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar_htmx import HTMXTemplate

from opinionlens_server.web.themes import chosen_theme
from pipelines.files import fingerprint
from pipelines.labels import shown_name
from pipelines.training.text_profile import FEATURES
from pipelines.workflows.doctor import is_installed

PACKAGE: Final = Path(__file__).parent
STATIC: Final = PACKAGE / "static"

HTMX_CONFIG: Final = {
    # The Content-Security-Policy forbids both.
    "includeIndicatorStyles": False,
    "allowEval": False,
    # New parts of a page listen at once: otherwise a choice made in their first 20 ms is lost.
    "defaultSettleDelay": 0,
    # Error answers carry a message for the same place on the page.
    "responseHandling": [{"code": "204", "swap": False}, {"code": "...", "swap": True}],
}


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """The templates of the pages."""
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(_environment()))


@cache
def _environment() -> Environment:
    """Templates with automatic escaping and strict undefined names, compiled once."""
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
        static=_static_url(),
        chosen_theme=chosen_theme,
        can_train=lambda: is_installed("mlflow"),
    )
    environment.filters.update(
        class_name=shown_name, class_list=_class_list, feature=FEATURES.get, zip=zip
    )
    return environment


class Page(HTMXTemplate):
    """A template that is rendered in a thread: a long one would keep all requests waiting."""

    def to_asgi_response(self, *args: Any, **options: Any) -> ASGIApp:  # type: ignore[override]
        """The response, which is rendered when it is sent."""
        rendered = partial(super().to_asgi_response, *args, **options)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await asyncio.to_thread(rendered)
            await response(scope, receive, send)

        return answer


def render(
    name: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    trigger_event: str | None = None,
    **context: object,
) -> Template:
    """A page, or a part of one for htmx, that no cache stores; `trigger_event` is one for htmx."""
    return Page(
        template_name=name,
        context=context,
        status_code=status,
        trigger_event=trigger_event,
        after="receive",
        media_type=MediaType.HTML,
        headers={"Cache-Control": "no-store", "Vary": "HX-Request, Cookie", **(headers or {})},
    )


def _class_list(tag: str) -> str:
    """The names in a model's tag, for people; someone else's tag of that name as it is."""
    try:
        return ", ".join(map(shown_name, msgspec.json.decode(tag, type=list[str])))
    except msgspec.DecodeError:
        return tag[:200]


def static_files() -> Router:
    """The route of the static files."""
    return create_static_files_router(
        path="/static",
        directories=[STATIC],
        cache_control=CacheControlHeader(max_age=3600, public=True),
    )


def _static_url() -> Callable[[str], str]:
    """URLs with a digest of the content, so that browsers can cache the files."""
    digests = {
        path.relative_to(STATIC).as_posix(): fingerprint(path)[1][:12]
        for path in STATIC.rglob("*")
        if path.is_file()
    }

    def url(name: str) -> str:
        return f"/static/{name}?v={digests.get(name, '')}"

    return url

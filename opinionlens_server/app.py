"""The Litestar application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from litestar import Litestar, Router
from litestar.datastructures import CacheControlHeader, State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme

from opinionlens_server.active_model import ActiveModel
from opinionlens_server.controllers.about import AboutController
from opinionlens_server.controllers.health import HealthController
from opinionlens_server.controllers.inference import InferenceController
from opinionlens_server.controllers.metrics import InferenceMetricsController, MetricsController
from opinionlens_server.controllers.models import ModelsController
from opinionlens_server.controllers.pages import PagesController
from opinionlens_server.dependencies import dependencies
from opinionlens_server.limits import make_rate_limiter
from opinionlens_server.metrics import Metrics
from opinionlens_server.observing import Observed
from opinionlens_server.problems import problem_details
from opinionlens_server.requests import TextRequest
from opinionlens_server.security import add_security_headers
from opinionlens_server.templating import static_files, template_config
from pipelines.inference.scorer import Scorer, load_scorer
from pipelines.registry.cache import ModelCache
from pipelines.settings import Settings, load_settings


def create_app(
    settings: Settings | None = None, load: Callable[[Path], Scorer] = load_scorer
) -> Litestar:
    """Make the web service.

    Parameters
    ----------
    settings : Settings, optional
        By default those of the project folder.
    load : callable, optional
        Makes a scorer from the folder of a cache entry.

    Raises
    ------
    SettingsError
        If the settings cannot be used.
    """
    settings = settings or load_settings()
    active_model = ActiveModel(ModelCache(settings.paths.models), load)
    metrics = Metrics(active_model)
    api = Router(
        path="/api/v1",
        route_handlers=[
            AboutController,
            InferenceController,
            InferenceMetricsController,
            ModelsController,
        ],
        cache_control=CacheControlHeader(no_store=True),
    )
    app = Litestar(
        route_handlers=[
            PagesController,
            HealthController,
            MetricsController,
            api,
            static_files(),
        ],
        dependencies=dependencies(settings, active_model, metrics),
        plugins=[problem_details()],
        request_class=TextRequest,
        request_max_body_size=settings.serving.max_body_size,
        before_send=[add_security_headers],
        template_config=template_config(),
        openapi_config=_openapi(),
        lifespan=[_follow_cache],
        state=State(
            {
                "settings": settings,
                "active_model": active_model,
                "metrics": metrics,
                "rate_limiter": make_rate_limiter(settings.serving),
            }
        ),
        logging_config=None,
    )
    # Litestar's own middleware does not see requests that no route takes.
    app.asgi_handler = Observed(app.asgi_handler, metrics, settings.serving.access_log)
    return app


@asynccontextmanager
async def _follow_cache(app: Litestar) -> AsyncIterator[None]:
    """Load the active model before the first request, and follow the cache until the end."""
    active_model: ActiveModel = app.state.active_model
    await active_model.refresh()
    watch = asyncio.create_task(active_model.watch())
    try:
        yield
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="OpinionLens",
        version=version("opinionlens"),
        description="Says whether a text is positive or negative, and how sure it is.",
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        # The HTML pages of Litestar load their scripts from other hosts.
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        components=Components(
            security_schemes={"adminToken": SecurityScheme(type="http", scheme="bearer")}
        ),
    )

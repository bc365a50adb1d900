"""The Litestar application: its routes and how they are wired."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from litestar import Litestar, Router
from litestar.datastructures import CacheControlHeader

from opinionlens_server.api.about import AboutController
from opinionlens_server.api.feedback import FeedbackController
from opinionlens_server.api.health import HealthController
from opinionlens_server.api.inference import InferenceController
from opinionlens_server.api.models import ModelsController
from opinionlens_server.api.openapi import add_limits, openapi_config
from opinionlens_server.api.prometheus import METRICS
from opinionlens_server.http.methods import answer_all_methods
from opinionlens_server.http.ports import by_port
from opinionlens_server.http.problems import problem_details
from opinionlens_server.http.requests import AppRequest
from opinionlens_server.models.threads import work_threads
from opinionlens_server.observability.middleware import ObservabilityMiddleware
from opinionlens_server.scoring.uploads import warm_up as warm_up_uploads
from opinionlens_server.security.origins import check_origin
from opinionlens_server.services import Services, make_services
from opinionlens_server.web.admin import AdminController
from opinionlens_server.web.feedback_form import FeedbackFormController
from opinionlens_server.web.files import FilesController
from opinionlens_server.web.home import HomeController
from opinionlens_server.web.labelling import LabellingController
from opinionlens_server.web.sign_in import SignInController
from opinionlens_server.web.templating import static_files, template_config
from pipelines.config.settings import Settings, load_settings
from pipelines.inference.loading import load_copy
from pipelines.inference.scorer import Scorer


def create_app(
    settings: Settings | None = None, load: Callable[[Path], Scorer] = load_copy
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
    services = make_services(settings or load_settings(), load)
    request_class = AppRequest.of(services)
    serving = services.settings.serving
    app = Litestar(
        route_handlers=[
            HomeController,
            FilesController,
            LabellingController,
            SignInController,
            AdminController,
            *([FeedbackFormController] if serving.feedback else []),
            HealthController,
            *([] if serving.metrics_port else METRICS),
            Router(
                path="/api/v1",
                route_handlers=[
                    AboutController,
                    ModelsController,
                    InferenceController,
                    *([FeedbackController] if serving.feedback else []),
                ],
                cache_control=CacheControlHeader(no_store=True),
            ),
            static_files(),
        ],
        plugins=[problem_details()],
        request_class=request_class,
        request_max_body_size=serving.max_body_size,
        middleware=[check_origin(serving)],
        template_config=template_config(),
        openapi_config=openapi_config(),
        lifespan=[_run_background_tasks],
        logging_config=None,
    )
    app.state.services = services
    add_limits(app, serving)
    # Outermost: Litestar's own middleware does not see requests without a route.
    app.asgi_handler = ObservabilityMiddleware(
        answer_all_methods(app), services.metrics, serving.access_log
    )
    if port := serving.metrics_port:
        apart = Litestar(METRICS, request_class=request_class, openapi_config=None)
        app.asgi_handler = by_port(app.asgi_handler, {port: apart})
    return app


@asynccontextmanager
async def _run_background_tasks(app: Litestar) -> AsyncIterator[None]:
    """Load the active model before the first request; watch cache and registry until the end."""
    services: Services = app.state.services
    asyncio.get_running_loop().set_default_executor(work_threads())
    await services.active_model.refresh()
    await services.activity.update()
    tasks = [
        services.active_model.watch(),
        services.activity.watch(),
        services.corrections.watch(),
        services.predictor.warm_up(),
        warm_up_uploads(),
    ]
    if services.follower is not None:
        tasks.append(services.follower.watch())
    async with AsyncExitStack() as background:
        for task in tasks:
            await background.enter_async_context(_running(task))
        yield


@asynccontextmanager
async def _running(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run `work` during the block, and cancel it afterwards."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

"""The Litestar application."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from litestar import Litestar, Router
from litestar.datastructures import CacheControlHeader, State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme
from litestar.types import ControllerRouterHandler, Guard

from opinionlens_server.access import Access
from opinionlens_server.active_model import ActiveModel
from opinionlens_server.activity import Activity
from opinionlens_server.controllers.about import AboutController
from opinionlens_server.controllers.admin import AdminController
from opinionlens_server.controllers.files import FilesController
from opinionlens_server.controllers.health import HealthController
from opinionlens_server.controllers.inference import InferenceController
from opinionlens_server.controllers.metrics import InferenceMetricsController, MetricsController
from opinionlens_server.controllers.models import ModelsController
from opinionlens_server.controllers.pages import PagesController
from opinionlens_server.controllers.sign_in import SignInController
from opinionlens_server.dependencies import provide
from opinionlens_server.documentation import LimitedJson, LimitedYaml
from opinionlens_server.fetches import Fetches
from opinionlens_server.following import Follower, parse_follow
from opinionlens_server.guards import require_key
from opinionlens_server.inference import Judge
from opinionlens_server.limits import make_rate_limiter
from opinionlens_server.methods import complete_allow
from opinionlens_server.metrics import Metrics
from opinionlens_server.observing import Observed
from opinionlens_server.origins import refuse_foreign
from opinionlens_server.panel import Panel
from opinionlens_server.problems import problem_details
from opinionlens_server.registry import RegistryListing
from opinionlens_server.requests import TextRequest
from opinionlens_server.sessions import Sessions
from opinionlens_server.state import SharedState
from opinionlens_server.templating import static_files, template_config
from opinionlens_server.throttle import Throttle
from pipelines.inference.loading import load_scorer
from pipelines.inference.scorer import Scorer
from pipelines.registry.cache import ModelCache
from pipelines.settings import Serving, Settings, load_settings


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
    objects = _make_objects(settings, load)
    app = Litestar(
        route_handlers=_routes(settings, objects["access"].needs_key),
        dependencies=provide(objects),
        plugins=[problem_details()],
        request_class=TextRequest,
        request_max_body_size=settings.serving.max_body_size,
        middleware=[refuse_foreign(settings.serving)],
        template_config=template_config(),
        openapi_config=_openapi(settings.serving),
        lifespan=[_watch],
        state=State(
            {**objects, "rate_limiter": make_rate_limiter(settings.serving, objects["shared"])}
        ),
        logging_config=None,
    )
    # Around the whole of it: Litestar's own middleware does not see requests that no route takes.
    app.asgi_handler = Observed(
        complete_allow(app), objects["metrics"], settings.serving.access_log
    )
    return app


class Objects(TypedDict):
    """What handlers and guards are given, by the name under which they ask for it."""

    settings: Settings
    active_model: ActiveModel
    cache: ModelCache
    judge: Judge
    metrics: Metrics
    shared: SharedState
    throttle: Throttle
    access: Access
    sessions: Sessions
    fetches: Fetches
    listing: RegistryListing
    activity: Activity
    follower: Follower | None
    panel: Panel


def _make_objects(settings: Settings, load: Callable[[Path], Scorer]) -> Objects:
    serving = settings.serving
    active_model = ActiveModel(ModelCache(settings.paths.models), load)
    metrics = Metrics(active_model)
    shared = SharedState(Path(serving.state_folder) if serving.state_folder else None)
    throttle = Throttle(shared)
    access = Access(serving, throttle)
    sessions = Sessions(
        serving.session_secret or secrets.token_urlsafe(32),
        access.fingerprint,
        serving.session_lifetime,
        serving.cookie_secure,
        shared,
    )
    fetches = Fetches(settings, active_model, metrics, shared)
    listing = RegistryListing(settings.mlflow)
    activity = Activity(metrics, shared)
    target = parse_follow(serving.follow)
    follower = Follower(target, settings, active_model, metrics, shared) if target else None
    return Objects(
        settings=settings,
        active_model=active_model,
        cache=active_model.cache,
        judge=Judge(active_model, serving, metrics),
        metrics=metrics,
        shared=shared,
        throttle=throttle,
        access=access,
        sessions=sessions,
        fetches=fetches,
        listing=listing,
        activity=activity,
        follower=follower,
        panel=Panel(active_model, fetches, listing, activity, follower),
    )


def _routes(settings: Settings, needs_key: bool) -> list[ControllerRouterHandler]:
    """All routes; those that judge texts have a guard only where there are API keys."""
    key_guards: list[Guard] = [require_key] if needs_key else []
    api = Router(
        path="/api/v1",
        route_handlers=[
            AboutController,
            InferenceMetricsController,
            ModelsController,
            Router(path="/", route_handlers=[InferenceController], guards=key_guards),
        ],
        cache_control=CacheControlHeader(no_store=True),
    )
    return [
        Router(path="/", route_handlers=[PagesController, FilesController], guards=key_guards),
        SignInController,
        AdminController,
        HealthController,
        MetricsController,
        api,
        static_files(),
    ]


@asynccontextmanager
async def _watch(app: Litestar) -> AsyncIterator[None]:
    """Load the active model before the first request; watch cache and registry until the end."""
    active_model: ActiveModel = app.state.active_model
    follower: Follower | None = app.state.follower
    activity: Activity = app.state.activity
    await active_model.refresh()
    await activity.look()
    async with AsyncExitStack() as background:
        for work in (active_model.watch(), app.state.activity.watch(), app.state.judge.warm_up()):
            await background.enter_async_context(_running(work))
        if follower is not None:
            await background.enter_async_context(_running(follower.watch()))
        yield


@asynccontextmanager
async def _running(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Do `work` beside what happens in the block, and cancel it afterwards."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _openapi(limits: Serving) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="OpinionLens",
        version=version("opinionlens"),
        description="Says whether a text is positive or negative, and how sure it is.",
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        # The HTML pages of Litestar load their scripts from other hosts.
        render_plugins=[LimitedJson(limits), LimitedYaml(limits)],
        components=Components(
            security_schemes={
                "adminToken": SecurityScheme(type="http", scheme="bearer"),
                "apiKey": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="Needed only where the operator has set API keys.",
                ),
            }
        ),
    )

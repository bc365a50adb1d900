"""The objects that request handlers use, made once per application."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opinionlens_server.corrections import Corrections
from opinionlens_server.models.active import ActiveModel
from opinionlens_server.models.adapting import Adaptations
from opinionlens_server.models.fetching import Fetches
from opinionlens_server.models.following import Follower, parse_follow
from opinionlens_server.models.predictor import Predictor
from opinionlens_server.models.registry import RegistryListing
from opinionlens_server.observability.activity import Activity
from opinionlens_server.observability.drift import DriftMonitor
from opinionlens_server.observability.metrics import Metrics
from opinionlens_server.security.credentials import Credentials
from opinionlens_server.security.rate_limit import RateLimiter, make_rate_limiter
from opinionlens_server.security.sessions import Sessions
from opinionlens_server.security.throttle import Throttle
from opinionlens_server.shared_state import ANSWERING, SharedState
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import Settings
from pipelines.inference.scorer import Scorer
from pipelines.workflows.label import Labelling


@dataclass(frozen=True)
class Services:
    """Everything a handler may need; a request has it as ``request.services``."""

    settings: Settings
    shared: SharedState
    cache: ModelCache
    active_model: ActiveModel
    predictor: Predictor
    corrections: Corrections
    metrics: Metrics
    activity: Activity
    drift: DriftMonitor
    fetches: Fetches
    adaptations: Adaptations
    labelling: Labelling
    follower: Follower | None
    registry: RegistryListing
    credentials: Credentials
    sessions: Sessions
    rate_limiter: RateLimiter | None


def make_services(settings: Settings, load: Callable[[Path], Scorer]) -> Services:
    """Make the services of one worker; `load` makes a scorer from the folder of a cache entry."""
    serving = settings.serving
    shared = SharedState(Path(serving.state_folder) if serving.state_folder else None)
    cache = ModelCache(settings.paths.models)
    active_model = ActiveModel(cache, load, shared.folder / ANSWERING)
    metrics = Metrics(active_model)
    drift = DriftMonitor(metrics, shared, active_model, serving.drift_hours)
    target = parse_follow(serving.follow)
    credentials = Credentials(serving, Throttle(shared))
    predictor = Predictor(active_model, serving, metrics)
    return Services(
        settings=settings,
        shared=shared,
        cache=cache,
        active_model=active_model,
        predictor=predictor,
        corrections=Corrections(settings, predictor),
        metrics=metrics,
        activity=Activity(metrics, shared, active_model, drift),
        drift=drift,
        fetches=Fetches(settings, active_model, metrics, shared),
        adaptations=Adaptations(shared),
        labelling=Labelling(settings),
        follower=Follower(target, settings, active_model, metrics, shared) if target else None,
        registry=RegistryListing(settings.mlflow),
        credentials=credentials,
        sessions=Sessions(
            serving.session_secret or secrets.token_urlsafe(32),
            credentials.fingerprint,
            serving.session_lifetime,
            serving.cookie_secure,
            shared,
        ),
        rate_limiter=make_rate_limiter(serving, shared),
    )

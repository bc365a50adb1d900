"""What handlers are given: made once per application, looked up by parameter name."""

from __future__ import annotations

from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation

from opinionlens_server.active_model import ActiveModel
from opinionlens_server.inference import Judge
from opinionlens_server.metrics import Metrics
from pipelines.registry.cache import ModelCache
from pipelines.settings import Settings

# How handlers ask for them. They are our own objects, so there is nothing to validate.
SettingsDependency = NamedDependency[SkipValidation[Settings]]
ActiveModelDependency = NamedDependency[SkipValidation[ActiveModel]]
CacheDependency = NamedDependency[SkipValidation[ModelCache]]
JudgeDependency = NamedDependency[SkipValidation[Judge]]
MetricsDependency = NamedDependency[SkipValidation[Metrics]]


def dependencies(
    settings: Settings, active_model: ActiveModel, metrics: Metrics
) -> dict[str, Provide]:
    """The application's objects by the parameter name of handlers."""
    judge = Judge(active_model, settings.serving, metrics)

    def provide_settings() -> Settings:
        return settings

    def provide_active_model() -> ActiveModel:
        return active_model

    def provide_cache() -> ModelCache:
        return active_model.cache

    def provide_judge() -> Judge:
        return judge

    def provide_metrics() -> Metrics:
        return metrics

    return {
        "settings": Provide(provide_settings, sync_to_thread=False),
        "active_model": Provide(provide_active_model, sync_to_thread=False),
        "cache": Provide(provide_cache, sync_to_thread=False),
        "judge": Provide(provide_judge, sync_to_thread=False),
        "metrics": Provide(provide_metrics, sync_to_thread=False),
    }

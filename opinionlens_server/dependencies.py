"""What handlers are given: made once per application, looked up by parameter name."""

from __future__ import annotations

from litestar.datastructures import State
from litestar.di import Provide

from opinionlens_server.active_model import ActiveModel, LoadedModel
from pipelines.registry.cache import ModelCache
from pipelines.settings import Settings


def provide_settings(state: State) -> Settings:
    """The settings the application was made with."""
    settings: Settings = state.settings
    return settings


def provide_active_model(state: State) -> ActiveModel:
    """The holder of the model that answers."""
    active_model: ActiveModel = state.active_model
    return active_model


def provide_model(state: State) -> LoadedModel:
    """The model that answers this request from its first text to its last."""
    active_model: ActiveModel = state.active_model
    return active_model.require()


def provide_cache(state: State) -> ModelCache:
    """The model cache."""
    active_model: ActiveModel = state.active_model
    return active_model.cache


DEPENDENCIES = {
    "settings": Provide(provide_settings, sync_to_thread=False),
    "active_model": Provide(provide_active_model, sync_to_thread=False),
    "model": Provide(provide_model, sync_to_thread=False),
    "cache": Provide(provide_cache, sync_to_thread=False),
}

"""MODEL, as commands take it -> a scorer: from the cache, or from the tracking store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pipelines.errors import InputError, ModelNotFoundError
from pipelines.inference.scorer import PipelineScorer, Scorer, load_scorer
from pipelines.registry.cache import ModelCache
from pipelines.settings import Settings


class OpenedModel(NamedTuple):
    """A model that is ready to answer, and what it is called."""

    id: str
    scorer: Scorer


def open_model(settings: Settings, model: str | None = None) -> OpenedModel:
    """Open the model that `model` names.

    Parameters
    ----------
    settings : Settings
    model : str, optional
        The ID of a model in the cache (``name-v3``), or a logged model in the tracking store:
        its ID (``m-...``), the ID of its run, or ``latest``. None: the active model of the cache.

    Raises
    ------
    ModelNotFoundError
        If there is none of that name, or no active model.
    """
    cache = ModelCache(settings.paths.models)
    if model is None:
        active = cache.active()
        if active is None:
            raise ModelNotFoundError(cache.active_problem() or _NO_MODEL)
        return OpenedModel(active.id, load_scorer(active.path))
    try:
        cached = cache.get(model)
    except (ModelNotFoundError, InputError):
        return _open_logged(settings, model)
    return OpenedModel(cached.id, load_scorer(cached.path))


_NO_MODEL = (
    "No model is active. Make one with olens quickstart, or fetch one with "
    "olens fetch NAME --activate"
)


def _open_logged(settings: Settings, model: str) -> OpenedModel:
    from pipelines.registry.tracking_store import TrackingStore

    store = TrackingStore(settings.mlflow)
    logged = store.find(model)
    with store.files(logged) as folder:
        return OpenedModel(logged.id, _scorer_of(folder))


def _scorer_of(folder: Path) -> Scorer:
    """The scorer of the logged model in `folder`, held in memory."""
    from pipelines.inference.compiling import fuse
    from pipelines.training.persistence import load_pipeline

    pipeline = load_pipeline(folder)
    return fuse(pipeline) or PipelineScorer(pipeline)

"""MODEL, as commands take it -> a scorer: from the cache, or from the tracking store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pipelines.errors import InputError, ModelNotFoundError
from pipelines.inference.base import BASE, answering_model, open_base
from pipelines.inference.loading import load_scorer
from pipelines.inference.pipeline import PipelineScorer
from pipelines.inference.scorer import Scorer
from pipelines.registry.cache import ModelCache
from pipelines.settings import Settings


class OpenedModel(NamedTuple):
    """A model that is ready to answer, and what it is called."""

    id: str
    scorer: Scorer

    @property
    def title(self) -> str:
        """Its ID, with a word about where it comes from if that is not the user's doing."""
        return f"{self.id} (comes with OpinionLens)" if self.id == BASE else self.id


def open_model(settings: Settings, model: str | None = None) -> OpenedModel:
    """Open the model that `model` names.

    Parameters
    ----------
    settings : Settings
    model : str, optional
        The ID of a model in the cache (``name-v3``), or a logged model in the tracking store:
        its ID (``m-...``), the ID of its run, or ``latest``; or ``base``, the one that comes with
        OpinionLens. None: the active model of the cache, else the base model.

    Raises
    ------
    ModelNotFoundError
        If there is none of that name, or the active model cannot be used.
    """
    cache = ModelCache(settings.paths.models)
    if model is None:
        answering = answering_model(cache)
        if answering is None:
            raise ModelNotFoundError(cache.active_problem() or "The active model has gone")
        return OpenedModel(answering.id, load_scorer(answering.path))
    if model == BASE:
        return OpenedModel(BASE, open_base())
    try:
        cached = cache.get(model)
    except (ModelNotFoundError, InputError):
        return _open_logged(settings, model)
    return OpenedModel(cached.id, load_scorer(cached.path))


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

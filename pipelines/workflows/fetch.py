"""`olens fetch`: from the registry into the model cache, ready to answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.errors import CorruptModelError, OpinionLensError
from pipelines.files import is_full
from pipelines.registry.client import Registry

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.registry.artifacts import OnProgress
    from pipelines.registry.connection import Credentials

_TEXTS: Final = [
    "",
    "A quiet, lovely film: good food, great service, I love it!",
    "The battery died after two days. Bad, not good, the worst and rude :(",
    "1 2 3 😀 café 東京 " * 50,
]
"""What a model must be able to judge before it is used."""


def fetch_model(
    settings: Settings,
    name: str,
    version: int | None = None,
    alias: str | None = None,
    activate: bool = False,
    on_progress: OnProgress | None = None,
    credentials: Credentials | None = None,
) -> CachedModel:
    """Download a registered version, check it, compile it, and activate it if wanted.

    A version that is in the cache is not downloaded again.

    Parameters
    ----------
    settings : Settings
        Names the registry and the cache folder.
    name : str
        Registered model.
    version, alias
        Which version; with neither, the one with the alias ``champion`` or else the newest.
    activate : bool
        Whether it answers from now on.
    on_progress : callable, optional
        Called with the bytes so far and in total.
    credentials : Credentials, optional
        For the registry, instead of those of the settings.

    Raises
    ------
    ModelNotFoundError, RegistryUnavailableError, RegistryAuthError
        From the registry.
    UnsafeModelError, CorruptModelError
        If the model must not be used.
    StorageError
        If the disk is full.
    """
    registry = Registry(settings.mlflow, credentials)
    registered = registry.resolve(name, version, alias)

    def download(folder: Path) -> None:
        registry.download(registered, folder, on_progress)

    cache = ModelCache(settings.paths.models)
    model = cache.install(registered, download, make_ready)
    return cache.activate(model.id) if activate else model


def make_ready(entry: Path) -> None:
    """Compile the model of the cache entry in folder `entry`, open it and let it judge some texts.

    Raises
    ------
    CorruptModelError
        If it cannot be opened, or an answer is not a finite number.
    UnsafeModelError
        If its file holds a type that is not allowed.
    """
    from pipelines.inference.compiling import compile_model
    from pipelines.inference.loading import load_scorer

    try:
        compile_model(entry)
        scorer = load_scorer(entry)
        _, probabilities = scorer.predict(_TEXTS)
        explanation = scorer.explain(_TEXTS[1])
    except (OpinionLensError, OSError):
        raise
    except Exception as error:  # whatever a model with impossible numbers makes NumPy raise
        if is_full(error):
            raise
        raise CorruptModelError(f"The model cannot judge a text: {str(error)[:300]}") from error
    numbers = [*probabilities.ravel(), explanation.probability, explanation.margin or 0.0]
    numbers += [word.contribution for word in explanation.words]
    if not np.isfinite(numbers).all() or probabilities.min() < 0 or probabilities.max() > 1:
        raise CorruptModelError(
            "The model answers with numbers that are no probabilities, so it is not used. Train "
            "and register it again"
        )

"""`olens fetch`: from the registry into the model cache, ready to answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry.cache import ModelCache
from pipelines.registry.client import Registry
from pipelines.registry.entries import CachedModel

if TYPE_CHECKING:
    from pipelines.connection import Credentials
    from pipelines.registry.artifacts import OnProgress
    from pipelines.settings import Settings


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
        Called with the bytes so far and in total, from another thread.
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
    from pipelines.inference.compiling import compile_model

    registry = Registry(settings.mlflow, credentials)
    registered = registry.resolve(name, version, alias)

    def download(folder: Path) -> None:
        registry.download(registered, folder, on_progress)

    cache = ModelCache(settings.paths.models)
    model = cache.install(registered, download, compile_model)
    return cache.activate(model.id) if activate else model

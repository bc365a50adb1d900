"""`olens register`: from the tracking store to the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.registry.client import Registry
from pipelines.registry.tracking_store import LATEST, TrackingStore

if TYPE_CHECKING:
    from pipelines.connection import Credentials
    from pipelines.registry.versions import RegisteredVersion
    from pipelines.settings import Settings

METRICS_FILE: Final = "metrics.json"


def register_model(
    settings: Settings,
    name: str,
    model: str = LATEST,
    alias: str | None = None,
    credentials: Credentials | None = None,
) -> RegisteredVersion:
    """Register a logged model of the tracking store as a new version of `name`.

    Parameters
    ----------
    settings : Settings
        Names the tracking store and the registry, which may be the same.
    name : str
        Registered model; made if it does not exist.
    model : str
        ``latest``, the ID of a logged model (``m-...``) or of a run.
    alias : str, optional
        Alias to point to the new version, such as ``champion``.
    credentials : Credentials, optional
        For the registry, instead of those of the settings.

    Raises
    ------
    ModelNotFoundError, CorruptModelError, UnsafeModelError, RegistryError, InputError
    """
    registry = Registry(settings.mlflow, credentials)
    tracking = TrackingStore(settings.mlflow, credentials)
    found = tracking.find(model)
    with tracking.files(found) as folder:
        metrics = read_metrics(folder / METRICS_FILE) or found.metrics
        return registry.register(found, folder, name, alias, metrics)


def read_metrics(path: Path) -> Mapping[str, float]:
    """The test metrics that training wrote beside the model.

    They are the numbers under ``test``, or those of the top level; other values are left out.
    """
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError):
        return {}
    metrics = content.get("test", content)
    if not isinstance(metrics, Mapping):
        return {}
    return {
        str(key): float(value)
        for key, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }

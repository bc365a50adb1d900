"""The base model: it comes with the package and answers where no model of one's own is active.

`olens base-model` makes it (see `pipelines.training.base_model`); its folder holds the packed
table, the model card and the metrics, and can be opened like an entry of the model cache.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from pipelines.errors import CorruptModelError, ModelInUseError
from pipelines.inference.linear import LinearScorer
from pipelines.inference.packing import PACKED_FILE, unpack
from pipelines.registry.cache import ModelCache
from pipelines.registry.entries import CachedModel

BASE: Final = "base"
"""What commands call it where they expect a MODEL."""

FOLDER: Final = Path(__file__).with_name("base_model")
CARD_FILE: Final = "model_card.md"
METRICS_FILE: Final = "metrics.json"

_SOURCE: Final = "the opinionlens package"


def open_base() -> LinearScorer:
    """The scorer of the base model; imports neither MLflow nor scikit-learn.

    Raises
    ------
    CorruptModelError
        If its file is missing or damaged.
    """
    try:
        return unpack(FOLDER / PACKED_FILE)
    except CorruptModelError as error:
        raise CorruptModelError(f"The base model cannot be used: {error}. {_REPAIR}") from None


def base_model() -> CachedModel:
    """What is known about the base model, in the form of an entry of the model cache.

    `load_scorer` opens its path. Its dates are that of the installed file.

    Raises
    ------
    CorruptModelError
        If its files are missing or damaged.
    """
    try:
        installed = datetime.fromtimestamp((FOLDER / PACKED_FILE).stat().st_mtime, UTC)
        size = sum(path.stat().st_size for path in FOLDER.iterdir())
        metrics = base_metrics()
    except OSError as error:
        raise CorruptModelError(f"The base model cannot be used: {error}. {_REPAIR}") from None
    return CachedModel(
        id=BASE,
        name=BASE,
        version=1,
        aliases=[],
        path=FOLDER,
        created=installed,
        fetched=installed,
        size=size,
        metrics=metrics,
        tags={},
        source=_SOURCE,
    )


def base_metrics() -> dict[str, float]:
    """Metrics of the base model on the whole test split, by name."""
    try:
        content = msgspec.json.decode(
            (FOLDER / METRICS_FILE).read_bytes(), type=dict[str, dict[str, float | None]]
        )
        return {name: value for name, value in content["test"].items() if value is not None}
    except (OSError, msgspec.MsgspecError, LookupError) as error:
        raise CorruptModelError(f"The base model cannot be used: {error}. {_REPAIR}") from None


def base_sha256() -> str:
    """SHA-256 of the packed table."""
    return hashlib.sha256((FOLDER / PACKED_FILE).read_bytes()).hexdigest()


def answering_model(cache: ModelCache) -> CachedModel | None:
    """The model that answers: the active one of `cache`, or the base model if none is.

    None when the active model cannot be used: another one must not answer in its place silently.
    """
    active = cache.active()
    if active is None and cache.active_stamp() is None:
        return base_model()
    return active


def activate_model(cache: ModelCache, model_id: str) -> CachedModel:
    """Let the model of `cache` called `model_id` answer from now on, or the base model.

    Raises
    ------
    ModelNotFoundError, CorruptModelError
        See `ModelCache.activate`.
    """
    if model_id != BASE:
        return cache.activate(model_id)
    model = base_model()
    cache.deactivate()
    return model


def remove_model(cache: ModelCache, model_id: str) -> None:
    """Delete the model of `cache` called `model_id`.

    Raises
    ------
    ModelInUseError, ModelNotFoundError
        See `ModelCache.remove`; the base model cannot be removed either.
    """
    if model_id == BASE:
        raise ModelInUseError("The base model comes with OpinionLens and cannot be removed.")
    cache.remove(model_id)


_REPAIR: Final = "Install opinionlens again"

"""The base models: they come with the package. `base` answers where no model is active.

`olens base-model` makes them (see `pipelines.base_model.recipe` and `pipelines.base_model.three`).
Their folders hold the packed table, the model card and the metrics, and can be opened like an entry
of the model cache.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from pipelines.cache.entries import CachedModel, QuickCheck, quick_check
from pipelines.errors import CorruptModelError
from pipelines.files import fingerprint
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.inference.packing import PACKED_FILE, unpack
from pipelines.labels import BINARY, Classes
from pipelines.registry.versions import DATA_TAG
from pipelines.text.languages import LANGUAGE_TAG

BASE: Final = "base"
"""Negative or positive; its name in commands that expect a MODEL."""
BASE3: Final = "base3"
"""Negative, neutral or positive."""

FOLDERS: Final = {
    BASE: Path(__file__).with_name("files"),
    BASE3: Path(__file__).with_name("files3"),
}
CARD_FILE: Final = "model_card.md"
METRICS_FILE: Final = "metrics.json"
CHECK_FILE: Final = "check.json"
"""Size and CRC-32 of the packed table; see `pipelines.cache.entries.QuickCheck`."""
LEFT_OUT_FILE: Final = "left_out.json"
"""By domain: how models do that were fitted without it; see `pipelines.base_model.card.LeftOut`."""

CLASSES: Final = {BASE: BINARY, BASE3: Classes.declared(("negative", "neutral", "positive"))}

_TESTED_ON: Final = {
    BASE: "imdb, amazon and airline",
    BASE3: "domains left out",
}
"""The texts that gave their metrics."""
_SOURCE: Final = "the opinionlens package"
_REPAIR: Final = "Install opinionlens again"


def open_base(name: str = BASE) -> LinearScorer:
    """The scorer of a base model; imports neither MLflow nor scikit-learn.

    Raises
    ------
    CorruptModelError
        If its file is missing or damaged.
    """
    check_base(name)
    try:
        return unpack(FOLDERS[name] / PACKED_FILE)
    except CorruptModelError as error:
        raise _unusable(name, error) from None


def check_base(name: str = BASE) -> None:
    """Compare the packed table of a base model with what was made: its size and its CRC-32.

    Raises
    ------
    CorruptModelError
        If it differs, or is missing.
    """
    folder = FOLDERS[name]
    try:
        expected = msgspec.json.decode((folder / CHECK_FILE).read_bytes(), type=QuickCheck)
        if quick_check(folder / PACKED_FILE) != expected:
            raise CorruptModelError(f"the file {PACKED_FILE} is damaged")
    except (OSError, msgspec.MsgspecError, CorruptModelError) as error:
        raise _unusable(name, error) from None


def base_model(name: str = BASE) -> CachedModel:
    """What is known about a base model, whose table was checked (`check_base`).

    It has the form of an entry of the model cache: `load_scorer` opens its path.

    Raises
    ------
    CorruptModelError
        If its files are missing or damaged.
    """
    check_base(name)
    return describe_base(name)


def describe_base(name: str = BASE) -> CachedModel:
    """The same without the check. Its dates are that of the installed file."""
    try:
        folder = FOLDERS[name]
        installed = datetime.fromtimestamp((folder / PACKED_FILE).stat().st_mtime, UTC)
        size = sum(path.stat().st_size for path in folder.iterdir())
        metrics = base_metrics(name)
    except OSError as error:
        raise _unusable(name, error) from None
    return CachedModel(
        id=name,
        name=name,
        version=1,
        aliases=[],
        path=folder,
        created=installed,
        fetched=installed,
        size=size,
        metrics=metrics,
        tags={DATA_TAG: _TESTED_ON[name], LANGUAGE_TAG: "en", **CLASSES[name].tags},
        source=_SOURCE,
    )


def base_metrics(name: str = BASE) -> dict[str, float]:
    """Metrics of a base model on the whole test split, by name."""
    try:
        content = msgspec.json.decode(
            (FOLDERS[name] / METRICS_FILE).read_bytes(),
            type=dict[str, dict[str, float | dict[str, object] | None]],
        )
        return {key: value for key, value in content["test"].items() if isinstance(value, float)}
    except (OSError, msgspec.MsgspecError, LookupError) as error:
        raise _unusable(name, error) from None


def base_sha256(name: str = BASE) -> str:
    """SHA-256 of the packed table of a base model."""
    return fingerprint(FOLDERS[name] / PACKED_FILE)[1]


def _unusable(name: str, error: Exception) -> CorruptModelError:
    return CorruptModelError(f"The model {name} cannot be used: {error}. {_REPAIR}")

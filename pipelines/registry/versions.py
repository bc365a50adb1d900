"""Registered models and versions, independent of MLflow's classes."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from pipelines.registry.manifest import MANIFEST_TAG

METRICS_TAG: Final = "olens.metrics"
"""Tag of model versions: the test metrics as a JSON object."""

DATA_TAG: Final = "olens.datasets"
"""Tag of model versions: names of the data sets whose test splits gave the metrics."""


class RegisteredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a registered model.

    Attributes
    ----------
    name, version
        What the registry calls it.
    aliases
        Aliases that point to this version, sorted.
    created
        When it was registered, in UTC.
    tags
        Tags of the version.
    metrics
        Test metrics by name.
    source
        URI of the registry, without credentials.
    """

    name: str
    version: int
    created: datetime
    source: str
    aliases: list[str] = []
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}

    @property
    def manifest_sha256(self) -> str | None:
        """SHA-256 of the manifest of the files that were registered, if OpinionLens did it."""
        return self.tags.get(MANIFEST_TAG)


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A name in the registry with its versions, newest first."""

    name: str
    versions: list[RegisteredVersion]
    description: str = ""

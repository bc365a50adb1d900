"""The language of data sets: the one that is declared, or the one that ``auto`` finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pipelines.datasets.loading import load_split

if TYPE_CHECKING:
    from pipelines.config.params import Params
    from pipelines.config.settings import Settings
    from pipelines.text.languages import FoundLanguage

_TEXTS: Final = 2_000
"""Train texts of each data set that are looked at."""


def found_language(
    settings: Settings, params: Params, datasets: Sequence[str] | None = None
) -> FoundLanguage | None:
    """What ``language: auto`` finds in the train texts of data sets, by default of all.

    None if the language is declared.

    Raises
    ------
    DataError
        If they are not prepared, or not clearly in one language.
    """
    if params.language != "auto":
        return None
    from pipelines.text.languages import find_language

    texts = load_split(settings, params, "train", datasets)
    parts = texts.partition_by("dataset", maintain_order=True)
    return find_language(text for part in parts for text in part["text"].head(_TEXTS))


def in_language(
    settings: Settings, params: Params, datasets: Sequence[str] | None = None
) -> Params:
    """`params` with the language declared or found, also in the vectorizer; errors as above."""
    found = found_language(settings, params, datasets)
    return params.in_language(found.language if found else params.language)  # type: ignore[arg-type]

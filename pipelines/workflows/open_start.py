"""The model that training starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.errors import InputError
from pipelines.inference.adapting import as_start
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.labels import BINARY
from pipelines.workflows.open_model import open_model

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.training.starting import Start


def open_linear(settings: Settings, model: str) -> tuple[str, LinearScorer]:
    """The ID and the table of the model that `model` names.

    Raises
    ------
    InputError
        If the model is not linear, or has two other classes than negative and positive.
    ModelError, RegistryError
        As `pipelines.workflows.open_model.open_model` does, also for a model of another version
        of the definition of words.
    """
    opened = open_model(settings, model)
    if not isinstance(opened.scorer, LinearScorer):
        raise InputError(
            f"{opened.id} is no linear model, so nothing can start from it. Start from `base`, or "
            "from a model of a linear subject such as nbsvm."
        )
    classes = opened.scorer.classes
    if classes.two and classes != BINARY:
        raise InputError(
            f"{opened.id} has the classes {', '.join(classes.names)}. Of models of two classes, "
            "one can start from those of negative and positive only; train it anew on your texts "
            "instead: olens train"
        )
    return opened.id, opened.scorer


def open_start(settings: Settings, model: str | None) -> Start | None:
    """The model for `olens train --from` and `olens tune --from`; errors as for `open_linear`."""
    if model is None:
        return None
    name, scorer = open_linear(settings, model)
    return as_start(scorer, name)

"""From texts to verdicts: what is accepted, and where the work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Final, Literal, cast

import msgspec
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE

from opinionlens_server.active_model import LoadedModel
from pipelines.errors import InputError
from pipelines.settings import Serving

INLINE_CHARACTERS: Final = 20_000
"""Up to this length a quick scorer answers on the event loop: handing over would cost more."""

Label = Literal["POSITIVE", "NEGATIVE"]


class Verdict(msgspec.Struct, frozen=True):
    """What a model says about one text."""

    label: Label
    probability: float
    """Of POSITIVE."""
    model: str
    seconds: float
    """Time the scorer took."""

    @property
    def confidence(self) -> float:
        """Probability of :attr:`label`, 0.5 to 1."""
        return _confidence(self.label, self.probability)


class Prediction(msgspec.Struct, frozen=True):
    """One answer of the API."""

    prediction: Label
    confidence: float
    """Probability of the prediction, 0.5 to 1."""
    model: str
    """Which model answered: name and version."""


def check_text(text: str, limits: Serving, where: str = "The text") -> None:
    """Refuse what cannot be judged.

    Raises
    ------
    InputError
        If there is nothing but white space in `text`.
    HTTPException
        With status 413, if `text` is longer than the settings allow.
    """
    if not text or text.isspace():
        raise InputError(f"{where} is empty. Send a text with at least one word.")
    if len(text) > limits.max_text_length:
        raise HTTPException(
            f"{where} has {len(text):,} characters. The limit here is {limits.max_text_length:,}.",
            status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
        )


def check_batch(texts: Sequence[str], limits: Serving) -> None:
    """Refuse a batch that is too long or holds a text that cannot be judged."""
    if len(texts) > limits.max_batch_size:
        raise HTTPException(
            f"The batch has {len(texts):,} texts. The limit here is {limits.max_batch_size:,}.",
            status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
        )
    for index, text in enumerate(texts):
        check_text(text, limits, where=f"Text {index} of the batch (counted from 0)")


async def judge(model: LoadedModel, text: str) -> Verdict:
    """The verdict of `model` on one text."""
    if model.quick and len(text) <= INLINE_CHARACTERS:
        return _judge(model, text)
    return await asyncio.to_thread(_judge, model, text)


def predict_batch(model: LoadedModel, texts: Sequence[str]) -> list[Prediction]:
    """The answers of `model` to all `texts`, in their order; blocks, so call it in a thread."""
    if not texts:
        return []
    labels, probabilities = model.scorer.predict(texts)
    return [
        Prediction(cast(Label, label), _confidence(label, probability), model.info.id)
        for label, probability in zip(labels, probabilities.tolist(), strict=True)
    ]


def _judge(model: LoadedModel, text: str) -> Verdict:
    start = perf_counter()
    labels, probabilities = model.scorer.predict([text])
    seconds = perf_counter() - start
    return Verdict(cast(Label, labels[0]), float(probabilities[0]), model.info.id, seconds)


def _confidence(label: str, probability: float) -> float:
    return probability if label == "POSITIVE" else 1.0 - probability

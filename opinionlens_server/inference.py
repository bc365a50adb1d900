"""From texts to verdicts: what is accepted, which model answers, and where the work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Final, Literal, cast

import msgspec
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE

from opinionlens_server.active_model import ActiveModel, LoadedModel
from pipelines.errors import InputError
from pipelines.settings import Serving

INLINE_CHARACTERS: Final = 20_000
"""Up to this length a quick scorer answers on the event loop: handing over would cost more."""

Label = Literal["POSITIVE", "NEGATIVE"]


class Prediction(msgspec.Struct, frozen=True):
    """One answer of the API."""

    prediction: Label
    confidence: float
    """Probability of the prediction, 0.5 to 1."""
    model: str
    """Which model answered: name and version."""


class Verdict(msgspec.Struct, frozen=True):
    """What the page shows about one text."""

    label: Label
    confidence: float
    """Probability of :attr:`label`, 0.5 to 1."""
    probability: float
    """Of POSITIVE."""
    model: str
    seconds: float
    """Time from the checked text to the verdict."""


class Judge:
    """Checks texts against the limits and has them judged.

    Every call is answered wholly by the model that was loaded when it began.

    Parameters
    ----------
    active_model : ActiveModel
        Holds the model.
    limits : Serving
        Longest text and batch.
    """

    def __init__(self, active_model: ActiveModel, limits: Serving) -> None:
        self._active_model = active_model
        self._limits = limits

    async def predict(self, text: str) -> Prediction:
        """The answer to one text.

        Raises
        ------
        NoActiveModelError
            If no model is loaded.
        InputError
            If there is nothing but white space in `text`.
        HTTPException
            With status 413, if `text` is longer than the settings allow.
        """
        model = self._active_model.require()
        self._check(text)
        if model.quick and len(text) <= INLINE_CHARACTERS:
            return _predict(model, [text])[0]
        return (await asyncio.to_thread(_predict, model, [text]))[0]

    async def predict_batch(self, texts: Sequence[str]) -> list[Prediction]:
        """The answers to all `texts`, in their order; errors as for :meth:`predict`."""
        model = self._active_model.require()
        if len(texts) > self._limits.max_batch_size:
            raise HTTPException(
                f"The batch has {len(texts):,} texts. "
                f"The limit here is {self._limits.max_batch_size:,}.",
                status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
            )
        for index, text in enumerate(texts):
            self._check(text, f"Text {index} of the batch (counted from 0)")
        return await asyncio.to_thread(_predict, model, texts) if texts else []

    async def judge(self, text: str) -> Verdict:
        """The verdict on one text with its time; errors as for :meth:`predict`."""
        start = perf_counter()
        answer = await self.predict(text)
        seconds = perf_counter() - start
        positive = answer.prediction == "POSITIVE"
        return Verdict(
            label=answer.prediction,
            confidence=answer.confidence,
            probability=answer.confidence if positive else 1.0 - answer.confidence,
            model=answer.model,
            seconds=seconds,
        )

    def _check(self, text: str, where: str = "The text") -> None:
        if not text or text.isspace():
            raise InputError(f"{where} is empty. Send a text with at least one word.")
        if len(text) > self._limits.max_text_length:
            raise HTTPException(
                f"{where} has {len(text):,} characters. "
                f"The limit here is {self._limits.max_text_length:,}.",
                status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
            )


def _predict(model: LoadedModel, texts: Sequence[str]) -> list[Prediction]:
    labels, probabilities = model.scorer.predict(texts)
    return [
        Prediction(
            cast(Label, label),
            probability if label == "POSITIVE" else 1.0 - probability,
            model.info.id,
        )
        for label, probability in zip(labels, probabilities.tolist(), strict=True)
    ]

"""From texts to verdicts: what is accepted, which model answers, and where the work is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Final, Literal, cast

import msgspec
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE

from opinionlens_server.active_model import WARM_UP_TEXT, ActiveModel, LoadedModel
from opinionlens_server.metrics import Metrics
from pipelines.errors import InputError
from pipelines.inference.explanation import Explanation
from pipelines.settings import Serving

INLINE_CHARACTERS: Final = 20_000
"""Up to this length a quick scorer answers on the event loop: handing over would cost more."""

WARM_UP_SECONDS: Final = 2.0
"""How long after the start what explanations need is loaded."""

QUERY_CHARACTERS: Final = 5_000
"""Longest text in a query string: the server takes 64 kB of it, and an emoji is 12 of them."""

ROWS_AT_ONCE: Final = 1_000
"""Rows of a file that are judged in one go; in between, others have their turn."""

logger = logging.getLogger(__name__)

Label = Literal["POSITIVE", "NEGATIVE"]


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """One answer of the API."""

    prediction: Label
    confidence: float
    """Probability of the prediction, 0.5 to 1."""
    model: str
    """Which model answered: name and version."""


class Verdict(msgspec.Struct, frozen=True):
    """A prediction with its reasons."""

    explanation: Explanation
    model: str
    seconds: float
    """Time that the model took for the prediction, without the explanation."""


class Judge:
    """Checks texts against the limits and has them judged.

    Every call is answered wholly by the model that was loaded when it began.

    Parameters
    ----------
    active_model : ActiveModel
        Holds the model.
    limits : Serving
        Longest text and batch.
    metrics : Metrics
        Hears about every text.
    """

    def __init__(self, active_model: ActiveModel, limits: Serving, metrics: Metrics) -> None:
        self._active_model = active_model
        self._limits = limits
        self._metrics = metrics

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
            return self._predict(model, text)[0]
        return (await asyncio.to_thread(self._predict, model, text))[0]

    async def predict_query(self, text: str) -> Prediction:
        """The same for a text from a query string, which may be less long."""
        if len(text) > QUERY_CHARACTERS:
            raise HTTPException(
                f"The text has {len(text):,} characters. In a query string the limit is "
                f"{QUERY_CHARACTERS:,}; send longer ones with POST.",
                status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
            )
        return await self.predict(text)

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
        return await asyncio.to_thread(self._predict_batch, model, texts) if texts else []

    async def explain(self, text: str) -> Verdict:
        """The answer to one text with its reasons; errors as for :meth:`predict`."""
        model = self._active_model.require()
        self._check(text)
        return await asyncio.to_thread(self._explain, model, text)

    async def warm_up(self) -> None:
        """Load what explanations need, so that the first one does not take a second.

        It waits until the service has started, which is what people wait for first.
        """
        await asyncio.sleep(WARM_UP_SECONDS)
        if (model := self._active_model.loaded) is None:
            return
        try:
            await asyncio.to_thread(model.scorer.explain, WARM_UP_TEXT)
        except Exception:
            logger.exception("The model that answers cannot explain itself.")

    async def predict_rows(self, texts: Sequence[str]) -> AsyncIterator[list[Prediction | None]]:
        """The answers to all `texts` in their order, some rows at a time; None for a blank one.

        Raises
        ------
        NoActiveModelError
            If no model is loaded.
        """
        model = self._active_model.require()
        for start in range(0, len(texts), ROWS_AT_ONCE):
            rows = texts[start : start + ROWS_AT_ONCE]
            yield await asyncio.to_thread(self._predict_rows, model, rows)

    def _check(self, text: str, where: str = "The text") -> None:
        if not _has_words(text):
            raise InputError(f"{where} is empty. Send a text with at least one word.")
        if len(text) > self._limits.max_text_length:
            raise HTTPException(
                f"{where} has {len(text):,} characters. "
                f"The limit here is {self._limits.max_text_length:,}.",
                status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
            )

    def _predict(self, model: LoadedModel, text: str) -> tuple[Prediction, float]:
        """The prediction and the seconds it took."""
        start = perf_counter()
        labels, probabilities = model.scorer.predict([text])
        seconds = perf_counter() - start
        prediction = _prediction(labels[0], float(probabilities[0]), model)
        self._metrics.observe_text(prediction.prediction, len(text), seconds)
        return prediction, seconds

    def _predict_batch(self, model: LoadedModel, texts: Sequence[str]) -> list[Prediction]:
        start = perf_counter()
        labels, probabilities = model.scorer.predict(texts)
        seconds = perf_counter() - start
        self._metrics.observe_batch(labels, map(len, texts), seconds)
        return [
            _prediction(label, probability, model)
            for label, probability in zip(labels, probabilities.tolist(), strict=True)
        ]

    def _predict_rows(self, model: LoadedModel, texts: Sequence[str]) -> list[Prediction | None]:
        written = [text for text in texts if _has_words(text)]
        found = iter(self._predict_batch(model, written) if written else [])
        return [next(found) if _has_words(text) else None for text in texts]

    def _explain(self, model: LoadedModel, text: str) -> Verdict:
        _, seconds = self._predict(model, text)
        return Verdict(model.scorer.explain(text), model.info.id, seconds)


def _has_words(text: str) -> bool:
    return bool(text) and not text.isspace()


def _prediction(label: str, probability: float, model: LoadedModel) -> Prediction:
    confidence = probability if label == "POSITIVE" else 1.0 - probability
    return Prediction(cast(Label, label), confidence, model.info.id)

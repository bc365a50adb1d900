"""Predictions: checking texts against the limits, and running the scorer in the right thread."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from time import perf_counter
from typing import Any, Final, Literal, TypeVar

import msgspec

from opinionlens_server.http.problems import too_large
from opinionlens_server.models.active import WARM_UP_TEXT, ActiveModel, LoadedModel
from opinionlens_server.observability.metrics import Metrics
from pipelines.config.settings import Serving
from pipelines.errors import InputError
from pipelines.inference.evidence import Evidence, Judgement
from pipelines.inference.explanation import Explanation, PerClass
from pipelines.labels import BINARY, Classes
from pipelines.text.text_lists import decode_texts

INLINE_CHARACTERS: Final = 20_000
"""Up to this length a fast scorer runs on the event loop: a thread would cost more."""

LONG_CHARACTERS: Final = 5_000
"""Longer texts are explained in turn, so that they leave the threads to short ones."""

LARGE_CHARACTERS: Final = 200_000
LARGE_TEXTS: Final = 1_000
"""Batches of more characters or texts take their turn, too."""

AT_ONCE: Final = 1_000
"""Items of a list that are encoded in one call; other threads run in between."""

WARM_UP_SECONDS: Final = 2.0
"""When explanations are warmed up, after the start."""

QUERY_CHARACTERS: Final = 5_000
"""Longest text in a query string: the server reads 64 kB of it, and an emoji takes 12 bytes."""

ROWS_AT_ONCE: Final = 1_000
"""Rows of a file that are predicted in one call; other requests are served in between."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """The prediction for one text."""

    prediction: str
    """The class: `POSITIVE` or `NEGATIVE`, or one of those that the model was trained on."""
    confidence: float
    """Probability of the prediction; of two classes, 0.5 to 1."""
    known: float | None
    """Share of the text's words that the model knows; null if that is not known."""
    evidence: Evidence
    """`none` if the text is not enough to go by, else `weak` or `clear`."""
    model: str
    """ID of the model: name and version."""
    probabilities: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    """Of each class, in the order of the model; not there for `NEGATIVE` and `POSITIVE` alone."""


class Unanswered(msgspec.Struct, frozen=True, gc=False):
    """The answer in a batch for a text without a prediction."""

    error: str
    """`empty text`: it is empty or white space."""
    evidence: Literal["none"] = "none"


EMPTY: Final = Unanswered("empty text")


class ExplainedText(msgspec.Struct, frozen=True):
    """An explanation with the ID of the model."""

    explanation: Explanation
    model: str
    seconds: float
    """Time of the prediction, without the explanation."""
    classes: Classes


class Predictor:
    """Predicts texts within the limits.

    Every call uses the model that was loaded when it began. Drift counts what programs send; texts
    that people type and files that they look at, which come again and again, are left out.
    """

    def __init__(self, active_model: ActiveModel, limits: Serving, metrics: Metrics) -> None:
        self._active_model = active_model
        self._limits = limits
        self._metrics = metrics
        self.turn = asyncio.Semaphore()
        """Whoever holds it may do what takes long."""

    @property
    def classes(self) -> Classes:
        """What the loaded model answers."""
        return self._active_model.require().scorer.classes

    async def predict(self, text: str) -> Prediction:
        """The prediction for one text.

        Raises
        ------
        NoActiveModelError
            If no model is loaded.
        InputError
            If `text` is empty or white space.
        HTTPException
            With status 413, if `text` is longer than the settings allow.
        """
        model = self._active_model.require()
        self._check(text)
        if model.quick and len(text) <= INLINE_CHARACTERS:
            judged, _ = self._judge(model, text)
        else:
            judged, _ = await asyncio.to_thread(self._judge, model, text)
        model.judged.append(judged)
        return _prediction(judged, model)

    async def predict_query(self, text: str) -> Prediction:
        """The same for a text from a query string, with a lower limit."""
        if len(text) > QUERY_CHARACTERS:
            raise too_large(
                f"The text has {len(text):,} characters. In a query string the limit is "
                f"{QUERY_CHARACTERS:,}; send longer ones with POST."
            )
        return await self.predict(text)

    async def predict_batch(self, texts: Sequence[str]) -> bytes:
        """The predictions for all `texts`, in their order, and `EMPTY` for blank ones, as JSON.

        Other errors as for :meth:`predict`.
        """
        model = self._active_model.require()
        if len(texts) > self._limits.max_batch_size:
            most = self._limits.max_batch_size
            raise too_large(f"The batch has more than {most:,} texts, which is the limit here.")
        for index, text in enumerate(texts):
            if len(text) > self._limits.max_text_length:  # asked here, since calls take time
                self._check_length(text, f"Text {index} of the batch (counted from 0)")
        large = len(texts) > LARGE_TEXTS or sum(map(len, texts)) > LARGE_CHARACTERS
        async with self.turn_if(large):
            return await asyncio.to_thread(self._answer_batch, model, texts)

    async def explain(self, text: str, form: Callable[[ExplainedText], T]) -> T:
        """What `form` makes of the explained prediction for one text.

        `form` is called in the same thread, as it takes time, too. Errors as for :meth:`predict`.
        """
        model = self._active_model.require()
        self._check(text)
        async with self.turn_if(len(text) > LONG_CHARACTERS):
            return await asyncio.to_thread(lambda: form(self._explain(model, text)))

    async def warm_up(self) -> None:
        """Load what explanations and large batches need, or the first one would take a second.

        It runs after the start, so as not to delay it.
        """
        await asyncio.sleep(WARM_UP_SECONDS)
        if (model := self._active_model.loaded) is None:
            return
        try:
            await asyncio.to_thread(model.scorer.explain, WARM_UP_TEXT)
            await asyncio.to_thread(decode_texts, b'["warm"]', 1)
        except Exception:
            logger.exception("The loaded model cannot explain a text.")

    async def predict_rows(
        self, model: LoadedModel, texts: Sequence[str]
    ) -> AsyncIterator[list[Prediction | None]]:
        """The predictions of `model` for all `texts` in their order, in chunks.

        None stands for a blank text.
        """
        for start in range(0, len(texts), ROWS_AT_ONCE):
            rows = texts[start : start + ROWS_AT_ONCE]
            yield await asyncio.to_thread(self._predict_rows, model, rows)

    def turn_if(self, needed: bool) -> AbstractAsyncContextManager[None]:
        """The turn for what takes long, if it is needed."""
        return self.turn if needed else nullcontext()

    def _check(self, text: str) -> None:
        if not _has_words(text):
            raise InputError("The text is empty. Send a text with at least one word.")
        self._check_length(text, "The text")

    def _check_length(self, text: str, where: str) -> None:
        if len(text) > self._limits.max_text_length:
            raise too_large(
                f"{where} has {len(text):,} characters. "
                f"The limit here is {self._limits.max_text_length:,}."
            )

    def _judge(self, model: LoadedModel, text: str) -> tuple[Judgement, float]:
        """The answer to a text and the seconds it took."""
        start = perf_counter()
        judged = model.scorer.judge([text])[0]
        seconds = perf_counter() - start
        self._metrics.observe_text(judged.prediction, len(text), seconds)
        return judged, seconds

    def _judge_batch(self, model: LoadedModel, texts: Sequence[str]) -> list[Judgement]:
        start = perf_counter()
        judged = model.scorer.judge(texts)
        seconds = perf_counter() - start
        labels = [found.prediction for found in judged]
        self._metrics.observe_batch(labels, map(len, texts), seconds)
        return judged

    def _answer_batch(self, model: LoadedModel, texts: Sequence[str]) -> bytes:
        rows = self._predict_rows(model, texts, model.judged)
        return _encode_list([EMPTY if found is None else found for found in rows])

    def _predict_rows(
        self, model: LoadedModel, texts: Sequence[str], seen: deque[Judgement] | None = None
    ) -> list[Prediction | None]:
        """The predictions, None for a blank text; the answers are added to `seen`."""
        written = [text for text in texts if _has_words(text)]
        judged = self._judge_batch(model, written) if written else []
        if seen is not None:
            seen.extend(judged)
        found = iter(judged)
        return [_prediction(next(found), model) if _has_words(text) else None for text in texts]

    def _explain(self, model: LoadedModel, text: str) -> ExplainedText:
        _, seconds = self._judge(model, text)
        classes = model.scorer.classes
        return ExplainedText(model.scorer.explain(text), model.info.id, seconds, classes)


def encode_explanation(explained: ExplainedText) -> bytes:
    """An explanation as JSON, with the ID of the model; its lists are used up."""
    fields = _with_encoded_lists(explained.explanation)
    if isinstance(each := fields.get("per_class"), PerClass):
        fields["per_class"] = _with_encoded_lists(each)
    return msgspec.json.encode(fields | {"model": explained.model})


def _with_encoded_lists(struct: msgspec.Struct) -> dict[str, object]:
    """The fields of a struct, and its long lists as JSON."""
    fields = {
        name: msgspec.Raw(_encode_list(value))
        if isinstance(value, list) and len(value) > AT_ONCE
        else value
        for name, value in msgspec.structs.asdict(struct).items()
    }
    # Of a struct, msgspec leaves out what is not set, but not of a dictionary.
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def _encode_list(items: list[Any]) -> bytes:
    """A list as JSON; it is empty afterwards.

    Encoding, and freeing, many objects at once would keep the event loop from running meanwhile.
    """
    parts = []
    while items:
        parts.append(msgspec.json.encode(items[:AT_ONCE])[1:-1])
        del items[:AT_ONCE]
    return b"[" + b",".join(parts) + b"]"


def _has_words(text: str) -> bool:
    return bool(text) and not text.isspace()


def _prediction(judged: Judgement, model: LoadedModel) -> Prediction:
    return Prediction(
        judged.prediction,
        judged.confidence,
        judged.known,
        judged.evidence,
        model.info.id,
        _probabilities(judged, model.scorer.classes),
    )


def _probabilities(judged: Judgement, classes: Classes) -> dict[str, float] | msgspec.UnsetType:
    if classes.names == BINARY.names:
        return msgspec.UNSET
    return dict(zip(classes.names, judged.each, strict=True))

"""``/api/v1/inference``: verdicts on texts."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import JSONBody, QueryParameter, SkipValidation

from opinionlens_server.active_model import LoadedModel
from opinionlens_server.inference import (
    Prediction,
    Verdict,
    check_batch,
    check_text,
    judge,
    predict_batch,
)
from pipelines.settings import Settings

Model = NamedDependency[SkipValidation[LoadedModel]]
Config = NamedDependency[SkipValidation[Settings]]


class PredictRequest(msgspec.Struct, frozen=True):
    """One text to judge."""

    text: Annotated[str, msgspec.Meta(examples=["The plot is thin, but the acting is superb."])]


class InferenceController(Controller):
    """Verdicts on one text or many."""

    path = "/inference"
    tags = ("inference",)

    @get("/predict", summary="The verdict on one text")
    async def predict_from_query(
        self,
        text: Annotated[
            str,
            QueryParameter(
                description="The text to judge.",
                examples=[Example(value="The plot is thin, but the acting is superb.")],
            ),
        ],
        model: Model,
        settings: Config,
    ) -> Prediction:
        """Judge the text in the query string."""
        return await _predict(text, model, settings)

    @post("/predict", status_code=200, summary="The verdict on one text")
    async def predict(
        self, data: JSONBody[PredictRequest], model: Model, settings: Config
    ) -> Prediction:
        """Judge the text in the body."""
        return await _predict(data.text, model, settings)

    @post("/batch_predict", status_code=200, summary="The verdicts on a list of texts")
    async def predict_batch(
        self, data: JSONBody[list[str]], model: Model, settings: Config
    ) -> list[Prediction]:
        """Judge every text of the list; the answers have the order of the texts."""
        check_batch(data, settings.serving)
        return await asyncio.to_thread(predict_batch, model, data)


async def _predict(text: str, model: LoadedModel, settings: Settings) -> Prediction:
    check_text(text, settings.serving)
    return _as_prediction(await judge(model, text))


def _as_prediction(verdict: Verdict) -> Prediction:
    return Prediction(verdict.label, verdict.confidence, verdict.model)

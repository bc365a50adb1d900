"""``/api/v1/inference``: verdicts on texts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, get, post
from litestar.openapi.spec import Example
from litestar.params import JSONBody, QueryParameter

from opinionlens_server.api_reference import EXAMPLE
from opinionlens_server.dependencies import JudgeDependency
from opinionlens_server.inference import Prediction


class PredictRequest(msgspec.Struct, frozen=True):
    """One text to judge."""

    text: Annotated[str, msgspec.Meta(examples=[EXAMPLE])]


class InferenceController(Controller):
    """Verdicts on one text or many."""

    path = "/inference"
    tags = ("inference",)

    @get("/predict", summary="The verdict on one text")
    async def predict_from_query(
        self,
        text: Annotated[
            str,
            QueryParameter(description="The text to judge.", examples=[Example(value=EXAMPLE)]),
        ],
        judge: JudgeDependency,
    ) -> Prediction:
        """Judge the text in the query string."""
        return await judge.predict(text)

    @post("/predict", status_code=200, summary="The verdict on one text")
    async def predict(self, data: JSONBody[PredictRequest], judge: JudgeDependency) -> Prediction:
        """Judge the text in the body."""
        return await judge.predict(data.text)

    @post("/batch_predict", status_code=200, summary="The verdicts on a list of texts")
    async def predict_batch(
        self, data: JSONBody[list[str]], judge: JudgeDependency
    ) -> list[Prediction]:
        """Judge every text of the list; the answers have the order of the texts."""
        return await judge.predict_batch(data)

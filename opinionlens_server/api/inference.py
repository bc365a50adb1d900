"""``/api/v1/inference``: predictions and explanations."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal

import msgspec
from litestar import Controller, Response, get, post
from litestar.openapi.spec import Example
from litestar.params import JSONBody, QueryParameter
from litestar.response import Stream

from opinionlens_server.api.openapi import problems
from opinionlens_server.api.route_list import EXAMPLE
from opinionlens_server.http.requests import AppRequest, file_of
from opinionlens_server.http.responses import JSONAnswer
from opinionlens_server.models.predictor import Prediction, Unanswered, encode_explanation
from opinionlens_server.scoring.downloads import scored_file
from opinionlens_server.scoring.uploads import Choice, read_upload
from opinionlens_server.security.guards import (
    admit,
    admit_batch,
    admit_text,
    count_explanation,
    count_texts,
)
from pipelines.inference.explanation import Explanation

PROBLEMS: Final = problems(400, 401, 413, 429, 500, 503)


class TextBody(msgspec.Struct, frozen=True):
    """One text."""

    text: Annotated[str, msgspec.Meta(examples=[EXAMPLE])]


class Explained(Explanation, frozen=True, kw_only=True):
    """A prediction with its explanation and the ID of the model."""

    model: str


class InferenceController(Controller):
    """Predictions for one text or many."""

    path = "/inference"
    tags = ("inference",)
    before_request = staticmethod(admit_text)
    # Nothing, or a key where the operator has set some.
    security = ({}, {"apiKey": []})

    @get("/predict", summary="Predict one text", responses=PROBLEMS)
    async def predict_from_query(
        self,
        text: Annotated[
            str, QueryParameter(description="The text.", examples=[Example(value=EXAMPLE)])
        ],
        request: AppRequest,
    ) -> Prediction:
        """Predict the text in the query string. Send long texts with POST."""
        return await request.services.predictor.predict_query(text)

    @post(
        "/predict",
        status_code=200,
        summary="Predict one text",
        responses=PROBLEMS,
        response_class=JSONAnswer,
    )
    async def predict(self, data: JSONBody[TextBody], request: AppRequest) -> Prediction:
        """Predict the text in the body."""
        return await request.services.predictor.predict(data.text)

    @post(
        "/batch_predict",
        status_code=200,
        summary="Predict a list of texts",
        responses=PROBLEMS,
        before_request=admit_batch,
    )
    async def predict_batch(
        self, data: JSONBody[list[str]], request: AppRequest
    ) -> Response[list[Prediction | Unanswered]]:
        """Predict every text of the list; the answers are in the order of the texts.

        In the place of an empty text there is an object with `error`, and the others are predicted.
        """
        count_texts(request, len(data))
        return JSONAnswer(await request.services.predictor.predict_batch(data))

    @post(
        "/file_predict",
        status_code=200,
        summary="Predict the rows of a file",
        responses=PROBLEMS,
        before_request=admit,
    )
    async def predict_file(
        self,
        request: AppRequest,
        filename: Annotated[str, QueryParameter(description="What the file is called.")] = "file",
        text_column: Annotated[
            str, QueryParameter(description="Column of the texts; found out without it.")
        ] = "",
        sheet: Annotated[str, QueryParameter(description="Sheet of an Excel file.")] = "",
        header: Annotated[
            bool | None, QueryParameter(description="Whether the first row names the columns.")
        ] = None,
        format: Annotated[  # noqa: A002
            Literal["csv", "jsonl"] | None,
            QueryParameter(description="Of the answer; that of the file without it."),
        ] = None,
    ) -> Stream:
        """Predict every row of a file, and send the file back with the predictions in it.

        The body is the file (CSV, TSV, JSONL, JSON, Parquet, Excel or lines of text), or a form of
        type `multipart/form-data` whose field `file` holds it. Rows keep their order and columns.
        """
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            name, content = file_of(await request.parts())
        else:
            name, content = filename, await request.body()
        choice = Choice(column=text_column, sheet=sheet, header=header)
        limits = request.services.settings.serving
        async with request.services.predictor.turn:
            file = await asyncio.to_thread(read_upload, name, content, choice, limits, whole=True)
        count_texts(request, len(file.texts))
        return await scored_file(request, file, format and format.upper())

    @post("/explain", status_code=200, summary="Explain one text", responses=PROBLEMS)
    async def explain(self, data: JSONBody[TextBody], request: AppRequest) -> Response[Explained]:
        """Predict the text in the body, with the contributions of its words and sentences.

        `start` and `end` count characters (Unicode code points) of the text as it was sent.
        """
        count_explanation(request, data.text)
        predictor = request.services.predictor
        return JSONAnswer(await predictor.explain(data.text, encode_explanation))

"""``/api/v1/inference``: verdicts on texts."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from litestar import Controller, get, post
from litestar.openapi.spec import Example
from litestar.params import JSONBody, QueryParameter

from opinionlens_server.answers import JSONAnswer
from opinionlens_server.api_reference import EXAMPLE
from opinionlens_server.dependencies import JudgeDependency
from opinionlens_server.documentation import problems
from opinionlens_server.inference import Judge, Prediction
from opinionlens_server.limits import limit_rate
from opinionlens_server.requests import TextRequest
from pipelines.inference.explanation import Explanation

PROBLEMS: Final = problems(400, 401, 413, 429, 500, 503)


class TextBody(msgspec.Struct, frozen=True):
    """One text to judge."""

    text: Annotated[str, msgspec.Meta(examples=[EXAMPLE])]


class Explained(Explanation, frozen=True, kw_only=True):
    """A prediction with its reasons, and the model that answered."""

    model: str


class InferenceController(Controller):
    """Verdicts on one text or many."""

    path = "/inference"
    tags = ("inference",)
    # Nothing, or a key where the operator has set some.
    security = ({}, {"apiKey": []})

    @get(
        "/predict", summary="The verdict on one text", responses=PROBLEMS, before_request=limit_rate
    )
    async def predict_from_query(
        self,
        text: Annotated[
            str,
            QueryParameter(description="The text to judge.", examples=[Example(value=EXAMPLE)]),
        ],
        judge: JudgeDependency,
    ) -> Prediction:
        """Judge the text in the query string. Send long ones with POST."""
        return await judge.predict_query(text)

    @post(
        "/predict",
        status_code=200,
        summary="The verdict on one text",
        responses=PROBLEMS,
        response_class=JSONAnswer,
        before_request=limit_rate,
    )
    async def predict(self, data: JSONBody[TextBody], request: TextRequest) -> Prediction:
        """Judge the text in the body."""
        # From the state: to resolve a dependency takes a third of the time of a prediction.
        judge: Judge = request.app.state.judge
        return await judge.predict(data.text)

    @post(
        "/batch_predict",
        status_code=200,
        summary="The verdicts on a list of texts",
        responses=PROBLEMS,
        before_request=limit_rate,
    )
    async def predict_batch(
        self, data: JSONBody[list[str]], judge: JudgeDependency
    ) -> list[Prediction]:
        """Judge every text of the list; the answers have the order of the texts."""
        return await judge.predict_batch(data)

    @post(
        "/explain",
        status_code=200,
        summary="The verdict on one text, and why",
        responses=PROBLEMS,
        before_request=limit_rate,
    )
    async def explain(self, data: JSONBody[TextBody], judge: JudgeDependency) -> Explained:
        """Judge the text in the body, and say what its words and sentences contribute.

        `start` and `end` count characters (Unicode code points) of the text as it was sent.
        """
        verdict = await judge.explain(data.text)
        return Explained(**msgspec.structs.asdict(verdict.explanation), model=verdict.model)

"""``/api/v1/feedback``: what a text should have been; only with ``serving.feedback``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Controller, delete, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody

from opinionlens_server.api.openapi import problem, problems
from opinionlens_server.api.route_list import EXAMPLE
from opinionlens_server.http.requests import AppRequest
from opinionlens_server.security.guards import admit_correction
from pipelines.labelling.feedback import KEY_LENGTH


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text with what it should be."""

    text: Annotated[str, msgspec.Meta(examples=[EXAMPLE])]
    label: Annotated[str, msgspec.Meta(examples=["POSITIVE"])]
    """A class of the active model, in any letter case."""
    key: Annotated[str, msgspec.Meta(max_length=KEY_LENGTH, examples=["review 1207"])] = ""
    """The sender's own name for the text: the same text, label and key are stored once, and the
    operator can delete by it."""


class StoredFeedback(msgspec.Struct, frozen=True):
    """What was stored."""

    id: str
    """With it, the text can be deleted."""
    label: str
    prediction: str
    """What the model says."""
    model: str
    until: datetime
    """When the text is deleted at the latest."""


class FeedbackController(Controller):
    """Take corrections, and take them back."""

    path = "/feedback"
    tags = ("feedback",)
    before_request = staticmethod(admit_correction)
    security = ({}, {"apiKey": []}, {"adminToken": []})

    @post(
        "/",
        summary="Say what a text should have been",
        responses={
            **problems(400, 401, 403, 413, 429, 500, 503, 507),
            **problem(409, "The active model has no such class.", "reviews-v1 has no class 'meh'."),
        },
    )
    async def add(self, data: JSONBody[Feedback], request: AppRequest) -> StoredFeedback:
        """Store the text with its label, so that people of this service can read it.

        Nothing else is stored: no address, no account. No model is trained on it unseen.
        """
        stored = await request.services.corrections.add(data.text, data.label, data.key)
        fields = {name: getattr(stored, name) for name in StoredFeedback.__struct_fields__}
        return StoredFeedback(**fields)

    @delete(
        "/{feedback_id:str}",
        summary="Take back what was sent",
        responses={
            **problems(400, 401, 403, 429, 500, 503, 507),
            **problem(404, "There is no such text.", "There is no such text any longer."),
        },
    )
    async def delete(self, feedback_id: FromPath[str], request: AppRequest) -> None:
        """Delete the text with this ID."""
        if not await request.services.corrections.delete(feedback_id):
            raise NotFoundException("There is no such text any longer.")

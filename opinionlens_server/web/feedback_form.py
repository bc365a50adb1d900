"""``/feedback``: the answers to "Right?" below a verdict; only with ``serving.feedback``."""

from __future__ import annotations

from litestar import Controller, post
from litestar.enums import MediaType
from litestar.response import Template

from opinionlens_server.http.requests import FORM_BYTES, AppRequest
from opinionlens_server.security.guards import admit_correction
from opinionlens_server.web.home import ENCODED
from opinionlens_server.web.templating import render
from pipelines.labelling.feedback import Correction


class FeedbackFormController(Controller):
    """Takes corrections of the page, and takes them back."""

    path = "/feedback"
    include_in_schema = False
    before_request = staticmethod(admit_correction)

    @post("/", media_type=MediaType.HTML, status_code=200)
    async def add(self, request: AppRequest) -> Template:
        """Store the form's text with the class that its button or its list names."""
        longest = request.services.settings.serving.max_text_length
        form = await request.form(ENCODED * longest + FORM_BYTES)
        text = form.get("text", "").replace("\r\n", "\n")
        label = form.get("label", "") or form.get("other", "")
        stored = await request.services.corrections.add(text, label)
        return _answer(request, stored)

    @post("/withdraw", media_type=MediaType.HTML, status_code=200)
    async def withdraw(self, request: AppRequest) -> Template:
        """Delete a text that was sent."""
        form = await request.form()
        await request.services.corrections.delete(form.get("id", ""))
        return _answer(request, None)


def _answer(request: AppRequest, stored: Correction | None) -> Template:
    """A part of the page for htmx, else a page."""
    name = "partials/feedback.html" if request.htmx else "feedback.html"
    return render(name, stored=stored)

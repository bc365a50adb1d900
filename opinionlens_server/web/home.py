"""``/``: the page that predicts a text; and ``/reference``, the API to read and try."""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from typing import Final

import msgspec
from litestar import Controller, get, post
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.response import Redirect, Template

from opinionlens_server.api.route_list import EXAMPLE, PREDICT
from opinionlens_server.http.problems import to_problem
from opinionlens_server.http.requests import FORM_BYTES, AppRequest
from opinionlens_server.models.predictor import ExplainedText
from opinionlens_server.security.guards import admit, count_explanation, find_session, require_key
from opinionlens_server.web.templating import render
from opinionlens_server.web.themes import theme_cookie
from pipelines.errors import OpinionLensError
from pipelines.inference.rendering.passages import Passage, passages

EXAMPLES: Final = (
    "I expected a tired sequel and got the warmest, funniest film I have seen all year.",
    "The coffee arrived stale, the box was crushed, and nobody answered my mails.",
    "Two hours late and they lost my bag. Never again.",
    "Not perfect, and too long by twenty minutes. But the cast is superb, and I would gladly "
    "watch it again.",
)

SHOWN_CHARACTERS: Final = 20_000
"""Shown part of a text; browsers are slow with more highlighted words."""

ENCODED: Final = 12
"""Most bytes of a character in a URL-encoded form: four bytes of UTF-8, each as ``%XX``."""

_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x7e]*")


class Outcome(msgspec.Struct, frozen=True):
    """The result for a text: an explained prediction, or a problem, or nothing yet."""

    text: str = ""
    explained: ExplainedText | None = None
    passages: list[Passage] = []
    """The text in passages, for highlighting."""
    feedback_days: int | None = None
    """How long the text is stored if the visitor answers "Right?"; None: they are not asked."""
    problem: str | None = None
    status: int = 200


class HomeController(Controller):
    """The page, whole or in part."""

    path = "/"
    include_in_schema = False

    @get("/", media_type=MediaType.HTML, before_request=require_key)
    async def show(self, request: AppRequest) -> Template:
        """The page with empty forms."""
        return _page(request)

    @post("/", media_type=MediaType.HTML, status_code=200, before_request=admit)
    async def evaluate(self, request: AppRequest) -> Template:
        """Explain the form's text: a part of the page for htmx, else the whole page."""
        outcome = await _explain_form(request)
        if request.htmx:
            return render("partials/result.html", outcome.status, outcome=outcome)
        return _page(request, outcome)

    @get("/reference", media_type=MediaType.HTML)
    async def reference(self, request: AppRequest) -> Template:
        """The reference of the API."""
        return render("reference.html", 200)

    @post("/theme", status_code=303)
    async def choose_theme(self, request: AppRequest) -> Redirect:
        """Remember light or dark, and go back to the visitor's page."""
        form = await request.form()
        back = form.get("back", "/")
        return Redirect(
            back if _LOCAL_PATH.fullmatch(back) else "/",
            status_code=303,
            cookies=[theme_cookie(form.get("theme", ""))],
        )


async def _explain_form(request: AppRequest) -> Outcome:
    text = ""
    try:
        longest = request.services.settings.serving.max_text_length
        form = await request.form(ENCODED * longest + FORM_BYTES)
        # Forms send CR LF: without it, the page and the API predict the same text.
        text = _chosen_example(form.get("example")) or form.get("text", "").replace("\r\n", "\n")
        count_explanation(request, text)
        days = await _feedback_days(request)
        return await request.services.predictor.explain(text, partial(_highlight, text, days))
    except (OpinionLensError, HTTPException) as error:
        problem = to_problem(error)
        return Outcome(text, problem=problem.detail, status=problem.status_code)


def _highlight(text: str, feedback_days: int | None, explained: ExplainedText) -> Outcome:
    shown = passages(text, explained.explanation.words, SHOWN_CHARACTERS)
    return Outcome(text, explained, list(shown), feedback_days)


async def _feedback_days(request: AppRequest) -> int | None:
    """The days that an answer is stored; None where there is no feedback from this visitor."""
    serving = request.services.settings.serving
    if not serving.feedback:
        return None
    if serving.feedback_access == "admin":
        session = await find_session(request)
        if session is None or session.role != "admin":
            return None
    return serving.feedback_days


def _chosen_example(number: str | None) -> str | None:
    examples = {str(index): example for index, example in enumerate(EXAMPLES)}
    return examples.get(number or "")


def _page(request: AppRequest, outcome: Outcome | None = None) -> Template:
    outcome = outcome or Outcome()
    active_model = request.services.active_model
    curl, python = _code_lines(request)
    return render(
        "home.html",
        outcome.status,
        outcome=outcome,
        model=active_model.loaded_id,
        classes=active_model.loaded.scorer.classes if active_model.loaded else None,
        # What to do about an empty cache is on the page anyway.
        setup_problem=active_model.problem
        if not active_model.loaded and request.services.cache.list()
        else None,
        examples=EXAMPLES,
        limits=request.services.settings.serving,
        curl=curl,
        python=python,
    )


def _code_lines(request: AppRequest) -> tuple[str, str]:
    """A prediction in three lines of curl, and in three of Python."""
    url = f"{str(request.base_url).rstrip('/')}{PREDICT}"
    needs_key = request.services.credentials.needs_key
    # One more line where the operator has set API keys.
    curl = [
        f"curl {shlex.quote(url)}",
        *(['-H "X-API-Key: $API_KEY"'] if needs_key else []),
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(json.dumps({'text': EXAMPLE}))}",
    ]
    headers = ', headers={"X-API-Key": KEY}' if needs_key else ""
    python = [
        "import httpx",
        f"url = {json.dumps(url)}",
        f'print(httpx.post(url{headers}, json={{"text": "A superb film."}}).json())',
    ]
    return " \\\n  ".join(curl), "\n".join(python)

"""``/``: the page for people."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from litestar import Controller, get, post
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.response import Redirect, Template

from opinionlens_server.active_model import ActiveModel
from opinionlens_server.api_reference import TOKEN_VARIABLE, list_routes
from opinionlens_server.controllers.files import receive_file
from opinionlens_server.dependencies import (
    ActiveModelDependency,
    JudgeDependency,
    SettingsDependency,
)
from opinionlens_server.files import TextFile
from opinionlens_server.guards import OPEN
from opinionlens_server.inference import Judge, Verdict
from opinionlens_server.limits import limit_rate
from opinionlens_server.marking import Part, parts
from opinionlens_server.problems import to_problem
from opinionlens_server.requests import TextRequest
from opinionlens_server.summary import Summary
from opinionlens_server.themes import theme_cookie
from pipelines.errors import OpinionLensError
from pipelines.settings import Serving, Settings

EXAMPLES: Final = (
    "I expected a tired sequel and got the warmest, funniest film I have seen all year.",
    "The coffee arrived stale, the box was crushed, and nobody answered my mails.",
    "Two hours late and they lost my bag. Never again.",
    "Not perfect, and too long by twenty minutes. But the cast is superb, and I would gladly "
    "watch it again.",
)

_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x7e]*")


class Outcome(msgspec.Struct, frozen=True):
    """What came of a text: a verdict, or a problem, or nothing yet."""

    text: str = ""
    verdict: Verdict | None = None
    parts: list[Part] = []
    """The text, cut up for shading."""
    problem: str | None = None
    status: int = 200


class FileOutcome(msgspec.Struct, frozen=True):
    """What came of a file: a summary, or a problem, or nothing yet."""

    file: TextFile | None = None
    summary: Summary | None = None
    problem: str | None = None
    status: int = 200


class PagesController(Controller):
    """The page, whole or in part."""

    path = "/"
    include_in_schema = False

    @get("/", media_type=MediaType.HTML)
    async def show(
        self,
        request: TextRequest,
        active_model: ActiveModelDependency,
        settings: SettingsDependency,
    ) -> Template:
        """The page before anything was asked."""
        return _page(request, active_model, settings)

    @post("/", media_type=MediaType.HTML, status_code=200, before_request=limit_rate)
    async def evaluate(
        self,
        request: TextRequest,
        active_model: ActiveModelDependency,
        settings: SettingsDependency,
        judge: JudgeDependency,
    ) -> Template:
        """The verdict on the form's text: a part of the page for htmx, else the whole page."""
        outcome = await _judge_form(request, judge)
        if request.headers.get("hx-request"):
            return _template("partials/result.html", outcome.status, outcome=outcome)
        return _page(request, active_model, settings, outcome)

    @post("/file", media_type=MediaType.HTML, status_code=200, before_request=limit_rate)
    async def summarise(
        self,
        request: TextRequest,
        active_model: ActiveModelDependency,
        settings: SettingsDependency,
        judge: JudgeDependency,
    ) -> Template:
        """The summary of a file: a part of the page for htmx, else the whole page."""
        outcome = await _judge_file(request, judge, settings.serving)
        if request.headers.get("hx-request"):
            return _template("partials/file_result.html", outcome.status, outcome=outcome)
        return _page(request, active_model, settings, file_outcome=outcome)

    @post("/theme", status_code=303, opt={OPEN: True})
    async def choose_theme(self, request: TextRequest) -> Redirect:
        """Remember light or dark, and go back to where the visitor was."""
        form = await request.form()
        back = form.get("back", "/")
        return Redirect(
            back if _LOCAL_PATH.fullmatch(back) else "/",
            status_code=303,
            cookies=[theme_cookie(form.get("theme", ""))],
        )


async def _judge_form(request: TextRequest, judge: Judge) -> Outcome:
    text = ""
    try:
        form = await request.form()
        text = _chosen_example(form.get("example")) or _line_feeds(form.get("text", ""))
        verdict = await judge.explain(text)
        return Outcome(text, verdict, parts(text, verdict.explanation.words))
    except (OpinionLensError, HTTPException) as error:
        problem = to_problem(error)
        return Outcome(text, problem=problem.detail, status=problem.status_code)


async def _judge_file(request: TextRequest, judge: Judge, limits: Serving) -> FileOutcome:
    try:
        file = await receive_file(request, limits)
        summary = Summary()
        async for predictions in judge.predict_rows(file.texts):
            summary.add(file.texts[summary.rows : summary.rows + len(predictions)], predictions)
        return FileOutcome(file, summary)
    except (OpinionLensError, HTTPException) as error:
        problem = to_problem(error)
        return FileOutcome(problem=problem.detail, status=problem.status_code)


def _chosen_example(number: str | None) -> str | None:
    if number is None or not number.isdecimal() or int(number) >= len(EXAMPLES):
        return None
    return EXAMPLES[int(number)]


def _line_feeds(text: str) -> str:
    """Undo what forms do to line ends, so that the page and the API judge the same text."""
    return text.replace("\r\n", "\n")


def _page(
    request: TextRequest,
    active_model: ActiveModel,
    settings: Settings,
    outcome: Outcome | None = None,
    file_outcome: FileOutcome | None = None,
) -> Template:
    outcome, file_outcome = outcome or Outcome(), file_outcome or FileOutcome()
    model = active_model.loaded.info if active_model.loaded else None
    return _template(
        "home.html",
        max(outcome.status, file_outcome.status),
        outcome=outcome,
        file_outcome=file_outcome,
        model=model,
        # What an empty cache needs stands on the page anyway.
        setup_problem=active_model.problem if not model and active_model.cache.list() else None,
        examples=EXAMPLES,
        limits=settings.serving,
        routes=list_routes(
            str(request.base_url).rstrip("/"), model, needs_key=bool(settings.serving.api_keys)
        ),
        token_variable=TOKEN_VARIABLE,
    )


def _template(name: str, status: int, **context: object) -> Template:
    return Template(
        name,
        context=context,
        status_code=status,
        media_type=MediaType.HTML,
        headers={"Cache-Control": "no-store", "Vary": "HX-Request, Cookie"},
    )

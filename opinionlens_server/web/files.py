"""``/file``: the page for a file of texts.

Nothing of a file is kept between requests: the page sends it for the preview, for the result, for
every other view of it, and for the download. A prediction takes microseconds, a worker need not
know what another one has received, nothing has to expire, and nobody else can find the file.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import Final, cast, get_args

import msgspec
from litestar import Controller, get, post
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.response import Stream, Template

from opinionlens_server.http.problems import to_problem
from opinionlens_server.http.requests import AppRequest, FormPart, file_of
from opinionlens_server.models.active import LoadedModel
from opinionlens_server.models.predictor import Prediction
from opinionlens_server.scoring.downloads import judgement_of, scored_file
from opinionlens_server.scoring.uploads import (
    ACCEPTED,
    Choice,
    Upload,
    preview,
    read_upload,
)
from opinionlens_server.security.guards import admit, count_texts, require_key
from opinionlens_server.web.templating import render
from pipelines.errors import OpinionLensError
from pipelines.labels import Classes
from pipelines.workflows.file_report import (
    FileReport,
    Order,
    RowPage,
    RowQuery,
    WordTotal,
    browse,
    judged_rows,
    read_labels,
    report,
    words_behind,
)

_HEADER: Final = {"true": True, "false": False}


class FileResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows about a file."""

    file: Upload
    model: str
    report: FileReport
    classes: Classes
    query: RowQuery
    page: RowPage
    words: dict[str, list[WordTotal]]
    labels: str
    """What was understood of the column of labels; empty without one."""


class FileOutcome(msgspec.Struct, frozen=True):
    """A result, or a problem, or nothing yet."""

    result: FileResult | None = None
    problem: str | None = None
    status: int = 200


class FilesController(Controller):
    """Files in, files out."""

    path = "/file"
    include_in_schema = False

    @get("/", media_type=MediaType.HTML, before_request=require_key)
    async def show(self, request: AppRequest) -> Template:
        """The page with an empty form."""
        return _page(request, FileOutcome())

    @post("/preview", media_type=MediaType.HTML, status_code=200, before_request=admit)
    async def show_preview(self, request: AppRequest) -> Template:
        """The first rows of a file, to choose the column of its texts."""
        form = await request.parts()
        found, problem, status = None, None, 200
        try:
            found = await asyncio.to_thread(
                preview, *file_of(form), _choice(form), request.services.settings.serving
            )
        except (OpinionLensError, HTTPException) as error:
            failed = to_problem(error)
            problem, status = failed.detail, failed.status_code
        return render("partials/file_preview.html", status, preview=found, problem=problem)

    @post("/", media_type=MediaType.HTML, status_code=200, before_request=admit)
    async def judge(self, request: AppRequest) -> Template:
        """The verdicts on a file: a part of the page for htmx, else the whole page."""
        outcome = await _judge(request)
        if request.htmx:
            return render("partials/file_result.html", outcome.status, outcome=outcome)
        return _page(request, outcome)

    @post("/download", status_code=200, before_request=admit)
    async def download(self, request: AppRequest) -> Stream:
        """The rows of the file with their predictions, in chunks."""
        file = await _receive(request, await request.parts(), whole=True)
        return await scored_file(request, file)


async def _judge(request: AppRequest) -> FileOutcome:
    try:
        form = await request.parts()
        file = await _receive(request, form, whole=False)
        model = request.services.active_model.require()
        predictions: list[Prediction | None] = []
        async for chunk in request.services.predictor.predict_rows(model, file.texts):
            predictions += chunk
        async with request.services.predictor.turn:
            result = await asyncio.to_thread(_result, file, model, predictions, _query(form))
        return FileOutcome(result)
    except (OpinionLensError, HTTPException) as error:
        problem = to_problem(error)
        return FileOutcome(problem=problem.detail, status=problem.status_code)


def _result(
    file: Upload, model: LoadedModel, predictions: list[Prediction | None], query: RowQuery
) -> FileResult:
    import polars as pl

    values = file.values(file.label)
    classes = model.scorer.classes
    labels, understood = (None, "") if values is None else read_labels(values, classes)
    rows = judged_rows(
        pl.Series(file.texts, dtype=pl.String),
        list(map(judgement_of, predictions)),
        file.numbers,
        labels,
        file.values(file.by),
        classes,
    )
    return FileResult(
        file=file,
        model=model.info.id,
        report=report(rows, classes),
        classes=classes,
        query=query,
        page=browse(rows, query),
        words=words_behind(model.scorer, rows),
        labels=understood,
    )


async def _receive(request: AppRequest, form: Mapping[str, FormPart], *, whole: bool) -> Upload:
    """The file of the form; with `whole`, all its columns."""
    services = request.services
    read = partial(read_upload, limits=services.settings.serving, whole=whole)
    async with services.predictor.turn:
        found = await asyncio.to_thread(read, *file_of(form), _choice(form))
    count_texts(request, len(found.texts))
    return found


def _choice(form: Mapping[str, FormPart]) -> Choice:
    return Choice(
        column=_field(form, "column"),
        sheet=_field(form, "sheet"),
        header=_HEADER.get(_field(form, "header")),
        label=_field(form, "label"),
        by=_field(form, "by"),
    )


def _query(form: Mapping[str, FormPart]) -> RowQuery:
    order, page = _field(form, "order"), _field(form, "page")
    return RowQuery(
        order=cast(Order, order) if order in get_args(Order) else "negative",
        only=_field(form, "only"),
        search=_field(form, "search"),
        page=int(page) if re.fullmatch(r"[0-9]{1,9}", page) else 1,
    )


def _field(form: Mapping[str, FormPart], name: str) -> str:
    return form[name].text.strip() if name in form else ""


def _page(request: AppRequest, outcome: FileOutcome) -> Template:
    return render(
        "file.html",
        outcome.status,
        outcome=outcome,
        model=request.services.active_model.loaded_id,
        limits=request.services.settings.serving,
        accepted=ACCEPTED,
    )

"""``/admin``: the page for listing, fetching, activating and removing models.

Every form has two answers: htmx gets the changed part of the page; a browser without JavaScript
gets a redirect to the whole page, which shows the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect, Template

from opinionlens_server.http.problems import to_problem
from opinionlens_server.http.requests import AppRequest, FormPart, file_of
from opinionlens_server.models.adapting import AdaptRequest
from opinionlens_server.models.fetching import FetchRequest
from opinionlens_server.scoring.uploads import ACCEPTED, LabelChoice, open_labelled, read_labelled
from opinionlens_server.security.guards import require_admin_session
from opinionlens_server.security.sessions import NOTICE_COOKIE, Notice
from opinionlens_server.services import Services
from opinionlens_server.web.admin_data import (
    Comparing,
    cached_models,
    comparing,
    registry_models,
    service_status,
    waiting_corrections,
)
from opinionlens_server.web.templating import render
from pipelines.base_model.opening import BASE
from pipelines.config.params import load_params
from pipelines.config.settings import Settings
from pipelines.datasets.labels import relabelled
from pipelines.datasets.loading import load_slices
from pipelines.errors import InputError, OpinionLensError
from pipelines.files import sha256_of
from pipelines.labelling.candidates import candidates_csv
from pipelines.labelling.feedback import candidates
from pipelines.labels import Classes
from pipelines.workflows.answering import local_model, remove_model
from pipelines.workflows.compare import compare, shared_classes
from pipelines.workflows.open_model import OpenedModel

if TYPE_CHECKING:
    import polars as pl

    from pipelines.tables.labelled import LabelledTable
    from pipelines.workflows.adapt import Adapted

Chosen = Annotated[str | None, QueryParameter(name="model_name", required=False)]


class AdminController(Controller):
    """The admin page, whole or in part."""

    path = "/admin"
    include_in_schema = False
    guards = (require_admin_session,)

    @get("/", media_type=MediaType.HTML)
    async def show(
        self,
        request: AppRequest,
        chosen: Chosen = None,
        registry: FromQuery[str | None] = None,
    ) -> Template:
        """The whole page; the registry is asked only if the browser cannot do so afterwards."""
        return await _page(request, chosen, ask=bool(chosen or registry))

    @get("/service", media_type=MediaType.HTML)
    async def show_service(self, request: AppRequest) -> Template:
        """The facts about the service."""
        service = await service_status(request.services)
        return render("partials/admin_service.html", service=service)

    @get("/models", media_type=MediaType.HTML)
    async def show_models(self, request: AppRequest) -> Template:
        """The models on this machine."""
        return await _models(request)

    @get("/registry", media_type=MediaType.HTML)
    async def show_registry(self, request: AppRequest) -> Template:
        """The models of the registry, and the form to fetch one."""
        registry, fetches = await asyncio.gather(
            registry_models(request.services), asyncio.to_thread(request.services.fetches.recent)
        )
        return render("partials/admin_registry.html", registry=registry, fetches=fetches)

    @get("/corrections.csv")
    async def download_corrections(self, request: AppRequest) -> Response[bytes]:
        """The corrections as a file for labelling."""
        found = candidates(await request.services.corrections.all())
        content = await asyncio.to_thread(candidates_csv, found)
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": 'attachment; filename="corrections.csv"',
        }
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    @get("/versions", media_type=MediaType.HTML)
    async def show_versions(self, request: AppRequest, chosen: Chosen = None) -> Template:
        """The versions of one model, to choose from."""
        registry = await registry_models(request.services, chosen)
        return render("partials/admin_versions.html", registry=registry)

    @get("/fetches", media_type=MediaType.HTML)
    async def show_fetches(self, request: AppRequest) -> Template:
        """The progress of the downloads."""
        return await _fetches(request)

    @post("/fetches", media_type=MediaType.HTML, status_code=200)
    async def fetch(self, request: AppRequest) -> Response[Any]:
        """Start to fetch the version that the form names."""
        notice = None
        try:
            if not await request.services.fetches.start(await _read_fetch_form(request)):
                notice = Notice("This version is being fetched already.")
        except OpinionLensError as error:
            notice = _failure(error)
        if request.htmx:
            return await _fetches(request, notice)
        return _redirect(request, notice, "#fetches")

    @post("/comparison", media_type=MediaType.HTML, status_code=200)
    async def compare(self, request: AppRequest) -> Template:
        """Compare two models on a slice or a labelled file."""
        compared = await _compare(request)
        if request.htmx:
            return render("partials/admin_comparison.html", comparing=compared)
        return await _page(request, compared=compared)

    @get("/adaptation", media_type=MediaType.HTML)
    async def show_adaptation(self, request: AppRequest) -> Template:
        """The progress of the adaptation, or its result."""
        return await _adaptation(request)

    @post("/adaptation", media_type=MediaType.HTML, status_code=200)
    async def adapt(self, request: AppRequest) -> Response[Any]:
        """Start to adapt a model to the labelled file of the form."""
        notice = None
        try:
            if not await request.services.adaptations.start(await _read_adapt_form(request)):
                notice = Notice("Another file is being learnt from. Wait for its end.", failed=True)
        except (OpinionLensError, HTTPException) as error:
            notice = _failure(error)
        if request.htmx:
            return await _adaptation(request, notice)
        return _redirect(request, notice, "#adapt")

    @post("/models/{model_id:str}/activate", media_type=MediaType.HTML, status_code=200)
    async def activate(self, request: AppRequest, model_id: FromPath[str]) -> Response[Any]:
        """Activate a model."""
        activating = request.services.active_model.activate(model_id)
        return await _changed(request, activating, f"{model_id} answers now.")

    @post("/models/{model_id:str}/remove", media_type=MediaType.HTML, status_code=200)
    async def remove(self, request: AppRequest, model_id: FromPath[str]) -> Response[Any]:
        """Delete a model from this machine."""
        removing = asyncio.to_thread(remove_model, request.services.cache, model_id)
        return await _changed(request, removing, f"{model_id} is removed.")


async def _page(
    request: AppRequest,
    chosen: str | None = None,
    *,
    ask: bool = False,
    compared: Comparing | None = None,
) -> Template:
    services = request.services
    cache, service, corrections, fetches, adaptation, offered, to_compare = await asyncio.gather(
        cached_models(services),
        service_status(services),
        waiting_corrections(services),
        asyncio.to_thread(services.fetches.recent),
        asyncio.to_thread(services.adaptations.last),
        registry_models(services, chosen, ask=ask),
        comparing(services),
    )
    page = render(
        "admin.html",
        cache=cache,
        service=service,
        corrections=corrections,
        fetches=fetches,
        adaptation=adaptation,
        limits=services.settings.serving,
        registry=offered,
        comparing=compared or to_compare,
        accepted=ACCEPTED,
        notice=services.sessions.read_notice(request.cookies.get(NOTICE_COOKIE)),
    )
    if NOTICE_COOKIE in request.cookies:
        page.cookies.append(services.sessions.notice_cookie(None, request.is_https))
    return page


async def _compare(request: AppRequest) -> Comparing:
    """Compare the two models of the form, on its file or slice."""
    services = request.services
    found = await comparing(services)
    try:
        form = await request.parts()
        candidate, champion, slice_ = (
            form[name].text if name in form else "" for name in ("candidate", "champion", "slice")
        )
        if candidate == champion:
            raise InputError("Choose two different models.")
        file = form.get("file", FormPart(b""))
        if not file.filename and slice_ not in found.slices:
            raise InputError("Choose a file with labels, or a slice.")
        pair = [await asyncio.to_thread(_open, services, id_) for id_ in (candidate, champion)]
        classes = shared_classes(*pair)
        work = (
            partial(read_labelled, *file_of(form), services.settings.serving, classes)
            if file.filename
            else partial(_read_slice, services.settings, slice_, classes)
        )
        frame, data = await asyncio.to_thread(work)
        result = await asyncio.to_thread(compare, pair[0], pair[1], {"texts": frame})
        return msgspec.structs.replace(found, result=result, data=data, classes=classes)
    except (OpinionLensError, HTTPException) as error:
        return msgspec.structs.replace(found, problem=to_problem(error).detail)


def _read_slice(settings: Settings, name: str, classes: Classes) -> tuple[pl.DataFrame, list[str]]:
    params = load_params(settings.root)
    texts = relabelled(load_slices(settings, params)[name], params.classes(), classes)
    return texts, [f"Slice {name} of this project's test data."]


def _open(services: Services, model_id: str) -> OpenedModel:
    model = local_model(services.cache, model_id)
    return OpenedModel(model.id, services.active_model.load(model.path))


async def _read_fetch_form(request: AppRequest) -> FetchRequest:
    form = await request.form()
    name, version = form.get("model_name", ""), form.get("model_version", "")
    if not name:
        raise InputError("Choose a model first.")
    if version and not (
        version.isascii() and version.isdecimal() and len(version) < 11 and 0 < int(version) < 2**31
    ):
        raise InputError(f"{version[:100]!r} is not the number of a version.")
    return FetchRequest(
        model_name=name,
        model_version=int(version) if version else None,
        set_default="set_default" in form,
    )


async def _read_adapt_form(request: AppRequest) -> AdaptRequest:
    form = await request.parts()
    fields = {name: part.text.strip() for name, part in form.items() if name != "file"}
    name, content = file_of(form)
    if not fields.get("name"):
        raise InputError("Give the model a name.")
    choice = msgspec.convert(fields, LabelChoice)
    settings, start = request.services.settings, fields.get("start") or BASE

    def read() -> LabelledTable:
        from pipelines.workflows.open_start import open_linear

        classes = open_linear(settings, start)[1].classes
        return open_labelled(name, content, settings.serving, choice, classes)

    labelled = await asyncio.to_thread(read)

    def learn(on_stage: Callable[[str], None]) -> Adapted:
        from pipelines.workflows.adapt import adapt_to_file

        return adapt_to_file(
            settings,
            labelled,
            start,
            fields["name"],
            on_stage=on_stage,
            sha256=sha256_of(content),
        )

    return AdaptRequest(source=name, name=fields["name"], learn=learn)


async def _changed(
    request: AppRequest, change: Awaitable[object], message: str
) -> Template | Redirect:
    """The answer to a change of the models, whether it succeeds or not."""
    try:
        await change
        notice = Notice(message)
    except OpinionLensError as error:
        notice = _failure(error)
    if request.htmx:
        return await _models(request, notice)
    return _redirect(request, notice, "#models")


def _failure(error: OpinionLensError | HTTPException) -> Notice:
    return Notice(to_problem(error).detail, failed=True)


async def _models(request: AppRequest, notice: Notice | None = None) -> Template:
    return render(
        "partials/admin_models.html",
        trigger_event="model-changed" if notice else None,
        cache=await cached_models(request.services),
        notice=notice,
    )


async def _fetches(request: AppRequest, notice: Notice | None = None) -> Template:
    fetches = await asyncio.to_thread(request.services.fetches.recent)
    running = any(fetch.state == "running" for fetch in fetches)
    return render(
        "partials/admin_fetches.html",
        trigger_event=None if running else "fetches-ended",
        fetches=fetches,
        notice=notice,
    )


async def _adaptation(request: AppRequest, notice: Notice | None = None) -> Template:
    adaptation = await asyncio.to_thread(request.services.adaptations.last)
    running = adaptation is not None and adaptation.state == "running"
    return render(
        "partials/admin_adaptation.html",
        trigger_event=None if running else "adaptation-ended",
        adaptation=adaptation,
        notice=notice,
    )


def _redirect(request: AppRequest, notice: Notice | None, fragment: str) -> Redirect:
    answer = Redirect(f"/admin{fragment}", status_code=303)
    if notice is not None:
        cookie = request.services.sessions.notice_cookie(notice, request.is_https)
        answer.cookies.append(cookie)
    return answer

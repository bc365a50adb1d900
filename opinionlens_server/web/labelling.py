"""``/label``: the page on which people label texts, and a model learns from them.

What people say is in the label store before the answer is sent. Everything else, the queue and the
model, is made of it again when a worker starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Controller, Response, get, post
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.params import FromPath
from litestar.response import Redirect, Template

from opinionlens_server.http.problems import to_problem
from opinionlens_server.http.requests import AppRequest, file_of
from opinionlens_server.models.adapting import Adaptation, AdaptRequest
from opinionlens_server.models.threads import in_daemon_thread
from opinionlens_server.scoring.uploads import ACCEPTED, Choice, open_upload
from opinionlens_server.security.guards import find_session, require_session
from opinionlens_server.security.sessions import Notice, Session
from opinionlens_server.web.home import SHOWN_CHARACTERS
from opinionlens_server.web.templating import render
from pipelines.errors import DataError, InputError, OpinionLensError
from pipelines.inference.explanation import Explanation
from pipelines.inference.rendering.passages import Passage, passages
from pipelines.labels import Classes
from pipelines.workflows.label import PROJECT, Added, person, project_name

if TYPE_CHECKING:
    from pipelines.labelling.active_learning import ActiveLearning, Progress
    from pipelines.labelling.agreement import Dispute
    from pipelines.labelling.store import Project, Suggestion, Text
    from pipelines.workflows.train_on_labels import Trained

logger = logging.getLogger(__name__)

_MINE: Final = "mine"
"""The name that is proposed for a model."""


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has before them."""

    project: Project
    classes: Classes
    text: Text | None
    """None: everything is labelled."""
    passages: list[Passage]
    guess: Explanation | None
    suggestion: Suggestion | None
    note: str
    """Of the label that was taken back."""
    progress: Progress
    is_learning: bool
    problem: str | None = None
    status: int = 200

    @property
    def suggested(self) -> str:
        """The class that the file suggests; empty: none of the project's."""
        wanted = self.suggestion.suggestion.casefold() if self.suggestion else ""
        return next((name for name in self.project.classes if name.casefold() == wanted), "")


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A text on which people disagree."""

    dispute: Dispute
    text: str


class LabellingController(Controller):
    """The projects, and the desk of each."""

    path = "/label"
    include_in_schema = False
    guards = (require_session,)

    @get("/", media_type=MediaType.HTML)
    async def show(self, request: AppRequest) -> Template:
        """The projects, and for the admin a form for a new one."""
        return await _projects(request)

    @post("/", media_type=MediaType.HTML, status_code=200)
    async def create(self, request: AppRequest) -> Response[Any]:
        """Make a project of the file of the form, or add its texts to one."""
        try:
            await _require_admin(request)
            added = await _add_texts(request)
        except (OpinionLensError, HTTPException) as error:
            failed = to_problem(error)
            return await _projects(request, failed.detail, failed.status_code)
        return Redirect(f"/label/{added.project}", status_code=303)

    @post("/name", media_type=MediaType.HTML, status_code=200)
    async def set_name(self, request: AppRequest) -> Response[Any]:
        """Remember what the person wants to be called beside their labels."""
        form = await request.form()
        session = await _session(request)
        project = form.get("project", "")
        try:
            named = msgspec.structs.replace(session, name=person(form.get("name", "")))
        except InputError as error:
            return await _ask_name(request, project, str(error), 400)
        cookie = request.services.sessions.cookie(named, request.is_https)
        target = f"/label/{project}" if PROJECT.fullmatch(project) else "/label"
        return Redirect(target, status_code=303, cookies=[cookie])

    @get("/{project:str}", media_type=MediaType.HTML)
    async def show_desk(self, request: AppRequest, project: FromPath[str]) -> Response[Any]:
        """The text to label now."""
        session = await _session(request)
        if not session.name:
            return await _ask_name(request, project)
        return await _page(request, await asyncio.to_thread(_desk, request, project, session.name))

    @post("/{project:str}", media_type=MediaType.HTML, status_code=200)
    async def answer(self, request: AppRequest, project: FromPath[str]) -> Response[Any]:
        """Store what the person says of a text, and show the next one."""
        session = await _session(request)
        if not session.name:
            return await _ask_name(request, project)
        form = await request.form()
        desk = await asyncio.to_thread(_answer, request, project, session.name, dict(form))
        desk = msgspec.structs.replace(desk, is_learning=await _learns(request, project))
        if request.htmx:
            return render("partials/label_desk.html", desk.status, desk=desk)
        if desk.problem or form.get("do") == "undo":
            return await _page(request, desk)
        return Redirect(f"/label/{project}", status_code=303)

    @get("/{project:str}/progress", media_type=MediaType.HTML)
    async def show_progress(self, request: AppRequest, project: FromPath[str]) -> Template:
        """How far the project is; asked again while a model learns."""
        is_learning = await _learns(request, project)
        learning = await asyncio.to_thread(request.services.labelling.open, project)
        progress = await asyncio.to_thread(learning.progress)
        return render("partials/label_progress.html", progress=progress, is_learning=is_learning)

    @get("/{project:str}/disputes", media_type=MediaType.HTML)
    async def show_disputes(self, request: AppRequest, project: FromPath[str]) -> Template:
        """The texts on which people disagree."""
        return await _disputes(request, project)

    @post("/{project:str}/disputes", media_type=MediaType.HTML, status_code=200)
    async def settle(self, request: AppRequest, project: FromPath[str]) -> Response[Any]:
        """Decide about a text on which people disagree."""
        session, form = await _session(request), await request.form()
        if not session.name:
            return await _ask_name(request, project)
        learning = await asyncio.to_thread(request.services.labelling.open, project)
        text, answer = _number(form.get("text", "")), form.get("answer", "")
        await asyncio.to_thread(learning.settle, session.name, text, answer, form.get("note", ""))
        return Redirect(f"/label/{project}/disputes", status_code=303)

    @get("/{project:str}/labels.csv")
    async def download(self, request: AppRequest, project: FromPath[str]) -> Response[bytes]:
        """The labels as CSV."""
        content = await asyncio.to_thread(request.services.labelling.export, project, "csv")
        name = f'attachment; filename="{project_name(project)}-labels.csv"'
        headers = {"Cache-Control": "no-store", "Content-Disposition": name}
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    @post("/{project:str}/model", media_type=MediaType.HTML, status_code=200)
    async def train(self, request: AppRequest, project: FromPath[str]) -> Response[Any]:
        """Start to make a model of the labels."""
        await _require_admin(request)
        name = (await request.form()).get("name", "").strip() or _MINE
        await asyncio.to_thread(request.services.labelling.store.project, project)

        def learn(on_stage: Callable[[str], None]) -> Trained:
            from pipelines.workflows.train_on_labels import train_on_labels

            return train_on_labels(request.services.settings, project, name, on_stage=on_stage)

        wanted = AdaptRequest(source=_source(project), name=name, learn=learn)
        notice = None
        if not await request.services.adaptations.start(wanted):
            notice = Notice("Another model is being made. Wait for its end.", failed=True)
        if request.htmx:
            adaptation = await asyncio.to_thread(request.services.adaptations.last)
            return render("partials/admin_adaptation.html", adaptation=adaptation, notice=notice)
        cookie = request.services.sessions.notice_cookie(notice, request.is_https)
        return Redirect("/admin#adapt", status_code=303, cookies=[cookie])


async def _session(request: AppRequest) -> Session:
    session = await find_session(request)
    assert session is not None, "the guard lets nobody else in"
    return session


async def _require_admin(request: AppRequest) -> None:
    if (await _session(request)).role != "admin":
        raise PermissionDeniedException("Only the admin of this service may do that.")


def _desk(
    request: AppRequest, project: str, name: str, note: str = "", problem: str | None = None
) -> Desk:
    learning: ActiveLearning = request.services.labelling.open(project)
    text = learning.next(name)
    guess = learning.guess(text) if text else None
    suggestion = learning.suggestion(text) if text else None
    cut: list[Passage] = []
    if text is not None:
        cut = list(passages(text.text, guess.words if guess else [], SHOWN_CHARACTERS))
    return Desk(
        project=learning.project,
        classes=learning.classes,
        text=text,
        passages=cut,
        guess=guess,
        suggestion=suggestion,
        note=note,
        progress=learning.progress(),
        is_learning=learning.is_learning,
        problem=problem,
        status=400 if problem else 200,
    )


def _answer(request: AppRequest, project: str, name: str, form: Mapping[str, str]) -> Desk:
    """Do what the form says, and show what is next."""
    learning: ActiveLearning = request.services.labelling.open(project)
    try:
        if form.get("do") == "undo":
            undone = learning.undo(name)
            return _desk(request, project, name, undone.note if undone else "")
        answer = None if form.get("do") == "skip" else form.get("answer", "")
        note = form.get("note", "").replace("\r\n", "\n").strip()
        learning.label(name, _number(form.get("text", "")), answer, note)
    except InputError as error:
        return _desk(request, project, name, problem=str(error))
    return _desk(request, project, name)


async def _learns(request: AppRequest, project: str) -> bool:
    """Whether a model learns in the background; one begins if there are enough new labels."""
    learning = await asyncio.to_thread(request.services.labelling.open, project)
    if learning.is_learning:
        return True
    if is_due := await asyncio.to_thread(lambda: learning.is_due):
        in_daemon_thread(learning.learn, "learn").add_done_callback(partial(_log_failure, project))
    return bool(is_due)


def _log_failure(project: str, done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()):
        logger.error("Learning from the labels of %s failed.", project, exc_info=error)


async def _add_texts(request: AppRequest) -> Added:
    form = await request.parts()
    fields = {name: part.text.strip() for name, part in form.items() if name != "file"}
    file, content = file_of(form)
    classes = [name.strip() for name in fields.get("classes", "").split(",") if name.strip()]

    def add() -> Added:
        table = open_upload(file, content, Choice(), request.services.settings.serving)
        name = fields.get("name") or project_name(file)
        column = fields.get("column") or None
        try:
            return request.services.labelling.add_texts(table, name, column, classes)
        except DataError as error:
            raise InputError(str(error)) from None

    return await asyncio.to_thread(add)


async def _projects(request: AppRequest, problem: str | None = None, status: int = 200) -> Template:
    def listed() -> list[tuple[Project, int, int]]:
        store = request.services.labelling.store
        return [
            (project, store.count(project), len({each.text for each in store.labels(project)}))
            for project in store.projects()
        ]

    return render(
        "label_projects.html",
        status,
        projects=await asyncio.to_thread(listed),
        is_admin=(await _session(request)).role == "admin",
        limits=request.services.settings.serving,
        accepted=ACCEPTED,
        problem=problem,
    )


async def _ask_name(
    request: AppRequest, project: str, problem: str | None = None, status: int = 200
) -> Template:
    return render("label_name.html", status, project=project, problem=problem)


async def _page(request: AppRequest, desk: Desk) -> Template:
    session = await _session(request)
    last = await asyncio.to_thread(request.services.adaptations.last)
    return render(
        "label.html",
        desk.status,
        desk=desk,
        person=session.name,
        is_admin=session.role == "admin",
        adaptation=_of_project(last, desk.project.name),
        proposed=_MINE,
    )


async def _disputes(request: AppRequest, project: str) -> Template:
    def found() -> tuple[ActiveLearning, list[Open]]:
        learning = request.services.labelling.open(project)
        texts = learning.texts
        return learning, [
            Open(dispute=each, text=texts[each.text].text) for each in learning.disputes()
        ]

    learning, disputes = await asyncio.to_thread(found)
    return render("label_disputes.html", project=learning.project, disputes=disputes)


def _source(project: str) -> str:
    return f"the labels of {project}"


def _of_project(adaptation: Adaptation | None, project: str) -> Adaptation | None:
    """The model that was made last, if it was made of this project."""
    return adaptation if adaptation and adaptation.file == _source(project) else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0

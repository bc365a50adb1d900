"""The label store: projects, their texts, and every label with who gave it and when.

A SQLite file by default, PostgreSQL where ``labels.storage`` says so. A label is on the disk when
the call that gives it returns, so a killed server loses none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from pipelines.errors import InputError
from pipelines.labelling.sql_storage import Execute, SqlStorage, storable

TEST_SHARE: Final = 0.2
"""Share of the texts that a model is tested on and never learns from."""
PLACES: Final = 2**63
PERSON: Final = 60
"""Most characters of a person's name."""
_KEPT: Final = timedelta(minutes=30)
"""How long a text waits for the person that it was shown to."""
_AT_ONCE: Final = 1_000
"""Texts in a statement: one by one, a database far away would take minutes."""

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS label_projects (
        id SERIAL PRIMARY KEY, name TEXT NOT NULL UNIQUE, classes TEXT NOT NULL,
        start TEXT NOT NULL, source TEXT NOT NULL, created TEXT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS label_texts (
        id SERIAL PRIMARY KEY, project INTEGER NOT NULL, place BIGINT NOT NULL, text TEXT NOT NULL,
        UNIQUE (project, place)
    )""",
    """CREATE TABLE IF NOT EXISTS label_suggestions (
        text INTEGER PRIMARY KEY, project INTEGER NOT NULL, label TEXT NOT NULL,
        suggestion TEXT NOT NULL, reason TEXT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS labels (
        id SERIAL PRIMARY KEY, project INTEGER NOT NULL, text INTEGER NOT NULL,
        annotator TEXT NOT NULL, answer TEXT, note TEXT NOT NULL, at TEXT NOT NULL,
        UNIQUE (project, text, annotator)
    )""",
    """CREATE TABLE IF NOT EXISTS label_settlements (
        text INTEGER PRIMARY KEY, project INTEGER NOT NULL, annotator TEXT NOT NULL,
        answer TEXT NOT NULL, note TEXT NOT NULL, at TEXT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS label_assignments (
        project INTEGER NOT NULL, annotator TEXT NOT NULL, text INTEGER NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (project, annotator)
    )""",
)
T = TypeVar("T", bound=msgspec.Struct)

_ABOUT_TEXTS: Final = ("labels", "label_settlements", "label_assignments", "label_suggestions")
"""Tables that name a project and a text."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A pile of texts that people label."""

    id: int
    name: str
    classes: tuple[str, ...]
    """Their names as in declarations."""
    start: str
    """The model to start from."""
    source: str
    """The file that the texts came from."""
    created: str
    """In ISO 8601, UTC."""


class Text(msgspec.Struct, frozen=True):
    """A text to label."""

    id: int
    place: int
    """In the random order of the texts, 0 to 2^63; a function of the text and the seed."""
    text: str

    @property
    def test(self) -> bool:
        """Whether it is of the fifth that models are tested on."""
        return self.place < TEST_SHARE * PLACES


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said of one text."""

    id: int
    text: int
    annotator: str
    answer: str | None
    """A class; None: the text was skipped."""
    note: str
    at: str
    """In ISO 8601, UTC."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about a text on which people disagreed."""

    text: int
    annotator: str
    """Who decided."""
    answer: str
    note: str
    at: str


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a text was called, and what it may be instead, as the file has it."""

    text: int
    label: str
    suggestion: str
    reason: str


class NewLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A label to be stored; `at` is now if it is empty."""

    text: int
    annotator: str
    answer: str | None
    note: str = ""
    at: str = ""


class LabelStore:
    """The database of all projects. Safe to use from several threads and processes.

    Parameters
    ----------
    uri : str
        ``sqlite:///FILE`` or ``postgresql://...``.

    Raises
    ------
    MissingExtraError
        If the driver for PostgreSQL is not installed. All methods raise `StorageError`.
    """

    def __init__(self, uri: str) -> None:
        self._storage = SqlStorage(uri, "labels.storage", _SCHEMA)

    def projects(self) -> list[Project]:
        """All projects by name."""
        with self._storage.reading() as execute:
            rows = execute(f"SELECT {_columns(Project)} FROM label_projects ORDER BY name")
        named = [dict(zip(Project.__struct_fields__, row, strict=True)) for row in rows]
        return [
            Project(**row | {"classes": msgspec.json.decode(row["classes"], type=tuple[str, ...])})
            for row in named
        ]

    def project(self, name: str) -> Project:
        """The project called `name`.

        Raises
        ------
        InputError
            If there is none.
        """
        found = {each.name: each for each in self.projects()}
        if name not in found:
            known = f"There are: {', '.join(found)}" if found else "There are none yet"
            raise InputError(
                f"There is no labelling project {name[:100]!r}. {known}; make one: olens label FILE"
            )
        return found[name]

    def create(
        self, name: str, classes: Sequence[str], start: str = "base", source: str = ""
    ) -> Project:
        """A new project without texts.

        Raises
        ------
        InputError
            If there is one of that name.
        """
        with self._storage.writing() as execute:
            if execute("SELECT 1 FROM label_projects WHERE name = ?", name):
                raise InputError(f"There is a labelling project {name!r} already.")
            encoded = msgspec.json.encode(classes).decode()
            values = {"name": name, "classes": encoded, "start": start, "source": source}
            _insert(execute, "label_projects", [{**values, "created": _now()}])
        return self.project(name)

    def remove(self, project: Project, texts: Collection[int] | None = None) -> None:
        """Delete a project, or some of its texts, with all that was said of them.

        The tables are written anew, so that no file of the database holds the texts any longer.
        Backups that were made before still do.
        """
        with self._storage.writing() as execute:
            for table in (*_ABOUT_TEXTS, "label_texts"):
                key = "id" if table == "label_texts" else "text"
                if texts is None:
                    _delete(execute, table, project=project.id)
                for text in texts or ():
                    _delete(execute, table, project=project.id, **{key: text})
            if texts is None:
                _delete(execute, "label_projects", id=project.id)
        self._storage.rewrite("label_projects", "label_texts", *_ABOUT_TEXTS)

    def add_texts(self, project: Project, texts: Iterable[tuple[int, str]]) -> int:
        """Add the texts of places that are free; returns how many that were."""
        with self._writing(project) as execute:
            places = execute("SELECT place FROM label_texts WHERE project = ?", project.id)
            known = {place for (place,) in places}
            new = {place: text for place, text in texts if place not in known}
            rows = [
                {"project": project.id, "place": place, "text": storable(text)}
                for place, text in sorted(new.items())
            ]
            _insert(execute, "label_texts", rows)
            return len(rows)

    def count(self, project: Project) -> int:
        """How many texts a project has."""
        with self._storage.reading() as execute:
            query = "SELECT COUNT(*) FROM label_texts WHERE project = ?"
            return int(execute(query, project.id)[0][0])

    def texts(self, project: Project) -> list[Text]:
        """The texts in their random order."""
        return self._read(Text, "label_texts", project, "ORDER BY place")

    def labels(self, project: Project) -> list[Label]:
        """All labels in the order in which they were given."""
        return self._read(Label, "labels", project, "ORDER BY id")

    def settlements(self, project: Project) -> list[Settlement]:
        """What was decided about texts in dispute."""
        return self._read(Settlement, "label_settlements", project)

    def suggestion(self, text: int) -> Suggestion | None:
        """What the file says about a text; None if it says nothing."""
        query = f"SELECT {_columns(Suggestion)} FROM label_suggestions WHERE text = ?"
        with self._storage.reading() as execute:
            return next((_struct(Suggestion, row) for row in execute(query, text)), None)

    def suggest(self, project: Project, suggestions: Sequence[Suggestion]) -> None:
        """Store suggestions; an earlier one for the same text is replaced."""
        with self._writing(project, [each.text for each in suggestions]) as execute:
            for each in suggestions:
                _delete(execute, "label_suggestions", text=each.text)
            rows = [{"project": project.id, **msgspec.structs.asdict(s)} for s in suggestions]
            _insert(execute, "label_suggestions", rows)

    def put(self, project: Project, labels: Sequence[NewLabel]) -> None:
        """Store labels; an earlier one of the same person for the same text is replaced."""
        with self._writing(project, [each.text for each in labels]) as execute:
            for each in labels:
                about = {"project": project.id, "text": each.text, "annotator": each.annotator}
                _delete(execute, "labels", **about)
                _delete(execute, "label_assignments", **about)
            _insert(execute, "labels", [_row(project, each) for each in labels])

    def undo(self, project: Project, annotator: str) -> Label | None:
        """Take back a person's last label, and show the text again; None if there is none."""
        with self._storage.writing() as execute:
            last = execute(
                f"SELECT {_columns(Label)} FROM labels WHERE project = ? AND annotator = ? "
                "ORDER BY id DESC LIMIT 1",
                *(project.id, annotator),
            )
            if not last:
                return None
            label = _struct(Label, last[0])
            _delete(execute, "labels", id=label.id)
            _show(execute, project, annotator, label.text)
            return label

    def settle(self, project: Project, label: NewLabel) -> None:
        """Decide about a text."""
        with self._writing(project, [label.text]) as execute:
            _delete(execute, "label_settlements", project=project.id, text=label.text)
            _insert(execute, "label_settlements", [_row(project, label)])

    def shown(
        self, project: Project, annotator: str, choose: Callable[[set[int]], int | None]
    ) -> int | None:
        """The text that a person is to label now.

        Parameters
        ----------
        project : Project
        annotator : str
        choose : callable (texts) -> text or None
            Chooses a text unless one waits for the person already; it is given those that other
            people have before them.
        """
        with self._storage.writing() as execute:
            query = "SELECT annotator, text, at FROM label_assignments WHERE project = ?"
            waiting = execute(query, project.id)
            mine = next((text for who, text, _ in waiting if who == annotator), None)
            if mine is not None:
                return int(mine)
            since = _stamp(datetime.now(UTC) - _KEPT)
            text = choose({text for _, text, at in waiting if at > since})
            if text is not None:
                _show(execute, project, annotator, text)
            return text

    @contextmanager
    def _writing(self, project: Project, texts: Iterable[int] = ()) -> Iterator[Execute]:
        """A transaction about texts that nobody has removed in the meantime."""
        with self._storage.writing() as execute:
            if not execute("SELECT 1 FROM label_projects WHERE id = ?", project.id):
                raise InputError(f"The labelling project {project.name!r} was removed.")
            query = "SELECT 1 FROM label_texts WHERE id = ? AND project = ?"
            if not all(execute(query, text, project.id) for text in texts):
                raise InputError("There is no such text in this project.")
            yield execute

    def _read(self, kind: type[T], table: str, project: Project, order: str = "") -> list[T]:
        query = f"SELECT {_columns(kind)} FROM {table} WHERE project = ? {order}"
        with self._storage.reading() as execute:
            return [_struct(kind, row) for row in execute(query, project.id)]


def _columns(kind: type[msgspec.Struct]) -> str:
    return ", ".join(kind.__struct_fields__)


def _struct(kind: type[T], row: Sequence[Any]) -> T:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))


def _row(project: Project, label: NewLabel) -> dict[str, object]:
    said = msgspec.structs.asdict(label)
    return {"project": project.id, **said, "at": label.at or _now()}


def _insert(execute: Execute, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        names, row = ", ".join(some[0]), f"({', '.join('?' * len(some[0]))})"
        values = (value for each in some for value in each.values())
        execute(f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * len(some))}", *values)


def _show(execute: Execute, project: Project, annotator: str, text: int) -> None:
    about = {"project": project.id, "annotator": annotator}
    _delete(execute, "label_assignments", **about)
    _insert(execute, "label_assignments", [{**about, "text": text, "at": _now()}])


def _delete(execute: Execute, table: str, **where: object) -> None:
    conditions = " AND ".join(f"{name} = ?" for name in where)
    execute(f"DELETE FROM {table} WHERE {conditions}", *where.values())


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")

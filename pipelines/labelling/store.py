"""The label store: projects, their texts, and every label with who gave it and when.

A SQLite file by default, PostgreSQL where ``labels.storage`` says so. A label is on the disk when
the call that gives it returns, so a killed server loses none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import InputError, StorageError
from pipelines.registry.databases import database_file, engine_uri

TEST_SHARE: Final = 0.2
"""Share of the texts that a model is tested on and never learns from."""
PLACES: Final = 2**63
PERSON: Final = 60
"""Most characters of a person's name."""
_BUSY: Final = 20.0
"""Seconds to wait for another process that is writing."""
_KEPT: Final = timedelta(minutes=30)
"""How long a text waits for the person that it was shown to."""
_LOCK: Final = 0x6F6C656E73
"""PostgreSQL's number of the lock under which tables are made."""

_METADATA: Final = sa.MetaData()
_PROJECTS: Final = sa.Table(
    "label_projects",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("classes", sa.Text, nullable=False),
    sa.Column("start", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("created", sa.String(40), nullable=False),
)
_TEXTS: Final = sa.Table(
    "label_texts",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.ForeignKey("label_projects.id"), nullable=False),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "place"),
)
_LABELS: Final = sa.Table(
    "labels",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.ForeignKey("label_projects.id"), nullable=False),
    sa.Column("text", sa.ForeignKey("label_texts.id"), nullable=False),
    sa.Column("annotator", sa.String(100), nullable=False),
    sa.Column("answer", sa.String(100)),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.UniqueConstraint("project", "text", "annotator"),
    sqlite_autoincrement=True,
)
_SETTLED: Final = sa.Table(
    "label_settlements",
    _METADATA,
    sa.Column("text", sa.ForeignKey("label_texts.id"), primary_key=True),
    sa.Column("project", sa.ForeignKey("label_projects.id"), nullable=False, index=True),
    sa.Column("annotator", sa.String(100), nullable=False),
    sa.Column("answer", sa.String(100), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
_SHOWN: Final = sa.Table(
    "label_assignments",
    _METADATA,
    sa.Column("project", sa.ForeignKey("label_projects.id"), primary_key=True),
    sa.Column("annotator", sa.String(100), primary_key=True),
    sa.Column("text", sa.ForeignKey("label_texts.id"), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)


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
        Of SQLAlchemy: ``sqlite:///FILE`` or ``postgresql://...``.

    Raises
    ------
    StorageError
        If the database cannot be used; every method raises it as well.
    """

    def __init__(self, uri: str) -> None:
        self._shown_uri = _without_password(uri)
        self._engine = _engine(uri, self._shown_uri)
        with self._writing() as database:
            if not self._is_file:
                database.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            _METADATA.create_all(database)

    def projects(self) -> list[Project]:
        """All projects by name."""
        with self._reading() as database:
            rows = database.execute(sa.select(_PROJECTS).order_by(_PROJECTS.c.name))
            return [_project(row) for row in rows.mappings()]

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
        values = {
            "name": name,
            "classes": msgspec.json.encode(classes).decode(),
            "start": start,
            "source": source,
            "created": _now(),
        }
        try:
            with self._writing() as database:
                database.execute(sa.insert(_PROJECTS).values(values))
        except sa.exc.IntegrityError:
            raise InputError(f"There is a labelling project {name!r} already.") from None
        return self.project(name)

    def add_texts(self, project: Project, texts: Iterable[tuple[int, str]]) -> int:
        """Add the texts of places that are free; returns how many that were."""
        with self._writing(project) as database:
            places = sa.select(_TEXTS.c.place).where(_TEXTS.c.project == project.id)
            known = set(database.scalars(places))
            new = {place: text for place, text in texts if place not in known}
            rows = [
                {"project": project.id, "place": place, "text": text.replace("\0", "")}
                for place, text in sorted(new.items())
            ]
            if rows:
                database.execute(sa.insert(_TEXTS), rows)
            return len(rows)

    def count(self, project: Project) -> int:
        """How many texts a project has."""
        query = sa.select(sa.func.count()).where(_TEXTS.c.project == project.id)
        with self._reading() as database:
            return int(database.scalar(query) or 0)

    def texts(self, project: Project) -> list[Text]:
        """The texts in their random order."""
        query = (
            sa.select(_TEXTS.c.id, _TEXTS.c.place, _TEXTS.c.text)
            .where(_TEXTS.c.project == project.id)
            .order_by(_TEXTS.c.place)
        )
        with self._reading() as database:
            return [Text(*row) for row in database.execute(query)]

    def labels(self, project: Project) -> list[Label]:
        """All labels in the order in which they were given."""
        query = (
            sa.select(*(_LABELS.c[name] for name in Label.__struct_fields__))
            .where(_LABELS.c.project == project.id)
            .order_by(_LABELS.c.id)
        )
        with self._reading() as database:
            return [Label(**row) for row in database.execute(query).mappings()]

    def settlements(self, project: Project) -> list[Settlement]:
        """What was decided about texts in dispute."""
        query = sa.select(*(_SETTLED.c[name] for name in Settlement.__struct_fields__)).where(
            _SETTLED.c.project == project.id
        )
        with self._reading() as database:
            return [Settlement(**row) for row in database.execute(query).mappings()]

    def put(self, project: Project, labels: Sequence[NewLabel]) -> None:
        """Store labels; an earlier one of the same person for the same text is replaced."""
        with self._writing(project) as database:
            for each in labels:
                _delete(database, _LABELS, project, text=each.text, annotator=each.annotator)
                _delete(database, _SHOWN, project, text=each.text, annotator=each.annotator)
                values = msgspec.structs.asdict(each) | {"at": each.at or _now()}
                database.execute(sa.insert(_LABELS).values(project=project.id, **values))

    def undo(self, project: Project, annotator: str) -> Label | None:
        """Take back a person's last label, and show the text again; None if there is none."""
        query = (
            sa.select(*(_LABELS.c[name] for name in Label.__struct_fields__))
            .where(_LABELS.c.project == project.id, _LABELS.c.annotator == annotator)
            .order_by(_LABELS.c.id.desc())
            .limit(1)
        )
        with self._writing(project) as database:
            row = database.execute(query).mappings().first()
            if row is None:
                return None
            label = Label(**row)
            _delete(database, _LABELS, project, id=label.id)
            _show(database, project, annotator, label.text)
            return label

    def settle(self, project: Project, label: NewLabel) -> None:
        """Decide about a text."""
        with self._writing(project) as database:
            _delete(database, _SETTLED, project, text=label.text)
            values = msgspec.structs.asdict(label) | {"at": label.at or _now()}
            database.execute(sa.insert(_SETTLED).values(project=project.id, **values))

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
        waiting = sa.select(_SHOWN).where(_SHOWN.c.project == project.id)
        with self._writing(project) as database:
            rows = list(database.execute(waiting).mappings())
            mine = next((row["text"] for row in rows if row["annotator"] == annotator), None)
            if mine is not None:
                return int(mine)
            since = _stamp(datetime.now(UTC) - _KEPT)
            text = choose({row["text"] for row in rows if row["at"] > since})
            if text is not None:
                _show(database, project, annotator, text)
            return text

    @property
    def _is_file(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._explained(), self._engine.connect() as database:
            yield database

    @contextmanager
    def _writing(self, project: Project | None = None) -> Iterator[sa.Connection]:
        """A transaction that excludes other writers, those of `project` at least."""
        with self._explained(), self._engine.execution_options(writes=True).begin() as database:
            if project and not self._is_file:
                row = sa.select(_PROJECTS.c.id).where(_PROJECTS.c.id == project.id)
                database.execute(row.with_for_update())
            yield database

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _unusable(self._shown_uri, error) from error


def _engine(uri: str, shown: str) -> sa.Engine:
    file = database_file(uri)
    try:
        if file is None:
            # SQLAlchemy's own choice is another driver.
            named = uri.replace("postgresql:", "postgresql+psycopg2:", 1)
            return sa.create_engine(named, pool_pre_ping=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(
            engine_uri(uri), poolclass=sa.NullPool, connect_args={"timeout": _BUSY}
        )
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise _unusable(shown, error) from error
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    """Let us begin transactions, and write ahead: readers wait for no writer."""
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    # A label survives a power cut, too.
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _show(database: sa.Connection, project: Project, annotator: str, text: int) -> None:
    _delete(database, _SHOWN, project, annotator=annotator)
    row = {"project": project.id, "annotator": annotator, "text": text, "at": _now()}
    database.execute(sa.insert(_SHOWN).values(row))


def _delete(database: sa.Connection, table: sa.Table, project: Project, **where: object) -> None:
    conditions = [table.c[name] == value for name, value in where.items()]
    database.execute(sa.delete(table).where(table.c.project == project.id, *conditions))


def _project(row: Mapping[Any, Any]) -> Project:
    classes = msgspec.json.decode(row["classes"], type=tuple[str, ...])
    return Project(**{**row, "classes": classes})


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _without_password(uri: str) -> str:
    try:
        return sa.make_url(uri).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "labels.storage"


def _unusable(uri: str, error: Exception) -> StorageError:
    reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return StorageError(
        f"Labels cannot be kept in {uri}: {reason[:300]}. Make room or a connection there, or set "
        "labels.storage to another database."
    )

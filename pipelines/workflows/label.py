"""`olens label`, `olens labels` and the page: piles of texts, and labels in and out of files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.base_model.opening import BASE
from pipelines.errors import DataError, InputError
from pipelines.labelling.sql_storage import storable
from pipelines.labels import BINARY, Classes, check_names, declared_name, merged
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.config.settings import Settings
    from pipelines.inference.linear_scorer import LinearScorer
    from pipelines.labelling.active_learning import ActiveLearning
    from pipelines.labelling.exchange import Format, Said
    from pipelines.labelling.store import LabelStore, Project, Text
    from pipelines.tables.table import Table

LONGEST_NAME: Final = 60
"""Characters of the name of a project or a person."""
PROJECT: Final = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
"""Names of projects."""


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a file of texts or labels."""

    project: str
    classes: tuple[str, ...]
    texts: int
    """Of the project, now."""
    new: int
    """Texts that it did not have."""
    labels: int = 0
    """That were added."""
    messages: list[str] = []


class Labelling:
    """The labelling projects of this project folder, each opened once.

    Nothing is opened before it is needed. Safe to use from several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._open: dict[str, ActiveLearning] = {}
        self._starts: dict[str, LinearScorer] = {}

    @cached_property
    def store(self) -> LabelStore:
        """The database of the labels.

        Raises
        ------
        MissingExtraError
            If it is in PostgreSQL, and the driver for it is not installed.
        """
        from pipelines.labelling.store import LabelStore

        return LabelStore(self._settings.labels.storage)

    def open(self, name: str) -> ActiveLearning:
        """The project called `name`, ready to label.

        Raises
        ------
        InputError
            If there is none.
        ModelError, RegistryError
            If the model to start from cannot be opened.
        """
        from pipelines.labelling.active_learning import ActiveLearning

        with self._lock:
            project = self.store.project(name)
            known = self._open.get(name)
            if (
                known is None
                or known.project != project
                or len(known.texts) != self.store.count(project)
            ):
                start = self._start(project)
                self._open[name] = known = ActiveLearning(self.store, project, start)
            return known

    def add_texts(
        self,
        table: Table,
        name: str,
        column: str | None = None,
        classes: Sequence[str] = (),
        start: str = BASE,
    ) -> Added:
        """Put the texts of a file into a project, which is made unless it is there.

        Parameters
        ----------
        table : Table
            Of a file of candidates, what it suggests is kept as well.
        name : str
        column : str, optional
            The column of the texts; by default, the one that looks like it.
        classes : sequence of str
            What the texts may be; by default those of the project, those that the file suggests,
            or negative and positive.
        start : str
            The model that a new project of negative and positive starts from.

        Raises
        ------
        DataError
            If the file cannot be read or holds no text.
        InputError
            If the project has other classes, or a name cannot be used.
        """
        from pipelines.labelling.reading import read_pile
        from pipelines.labelling.store import Suggestion

        pile = read_pile(table, column)
        project = self._made(name, classes, pile.classes, start, table.name)
        new = self.store.add_texts(project, pile.texts)
        if pile.suggestions:
            ids = {text.place: text.id for text in self.store.texts(project)}
            self.store.suggest(
                project,
                [
                    Suggestion(text=ids[place], label=label, suggestion=name, reason=reason)
                    for place, (label, name, reason) in pile.suggestions.items()
                ],
            )
        return Added(
            project=name,
            classes=project.classes,
            texts=self.store.count(project),
            new=new,
            messages=pile.messages,
        )

    def take_in(
        self,
        file: Path,
        name: str,
        annotator: str,
        columns: tuple[str | None, str | None] = (None, None),
        classes: Sequence[str] = (),
    ) -> Added:
        """Add the labels of a file to a project, which is made unless it is there.

        Parameters
        ----------
        file : Path
            What `export` wrote, an export of Label Studio, or any file with texts and labels.
        name : str
        annotator : str
            Who gave the labels that name nobody.
        columns : pair of str
            The columns of text and label; by default, those that look like it.
        classes : sequence of str
            Of a new project; by default, the labels in the file.

        Raises
        ------
        DataError
            If the file cannot be read, or has a label that is no class of the project.
        """
        import polars as pl

        from pipelines.labelling.exchange import take_in
        from pipelines.labelling.reading import places

        said = list(_read_labels(file, columns))
        if not said:
            raise DataError(f"{file}: there is no label in it.")
        found = merged([classes or sorted({each.answer for each in said})])
        project = self._made(name, classes, found, BASE, str(file))
        before = self.store.count(project)
        ranks = places(pl.Series([each.text for each in said])).to_list()
        labels = take_in(self.store, project, said, ranks, annotator)
        texts = self.store.count(project)
        return Added(
            project=name, classes=project.classes, texts=texts, new=texts - before, labels=labels
        )

    def export(self, name: str, form: Format) -> bytes:
        """The labels of a project as a file; see `pipelines.labelling.exchange.export`."""
        from pipelines.labelling.exchange import export

        return export(self.store, self.store.project(name), form)

    def texts_with(self, name: str, containing: str = "") -> list[Text]:
        """The texts of a project that contain something, in any letter case; all by default."""
        part = storable(containing).casefold()
        texts = self.store.texts(self.store.project(name))
        return [each for each in texts if part in each.text.casefold()]

    def remove(self, name: str, texts: Sequence[Text] | None = None) -> None:
        """Delete a project, or some of its texts, with all labels of theirs.

        Nothing of them is left in the files of the database. Backups, exported files and models
        that have learnt from them are not touched.
        """
        chosen = None if texts is None else [each.id for each in texts]
        self.store.remove(self.store.project(name), chosen)

    def _made(
        self, name: str, classes: Sequence[str], found: Sequence[str], start: str, source: str
    ) -> Project:
        """The project called `name`; a new one, with those `found` by default, if there is none."""
        known = {each.name: each for each in self.store.projects()}
        if name in known:
            if classes and known[name].classes != _class_names(classes):
                raise InputError(
                    f"{name} has the classes {', '.join(known[name].classes)}. Give other texts "
                    "and classes a project of their own: --name NAME"
                )
            return known[name]
        if len(name) > LONGEST_NAME or not PROJECT.fullmatch(name):
            raise InputError(
                f"{name[:LONGEST_NAME]!r} is no name for a project: use letters, digits, -, _ and "
                f"dots, {LONGEST_NAME} at most."
            )
        wanted = _class_names(classes or found or ("negative", "positive"))
        two = Classes.declared(wanted) == BINARY
        return self.store.create(name, wanted, start if two else "", source)

    def _start(self, project: Project) -> LinearScorer | None:
        from pipelines.workflows.open_start import open_linear

        if not project.start:
            return None
        if project.start not in self._starts:
            self._starts[project.start] = open_linear(self._settings, project.start)[1]
        return self._starts[project.start]


def person(name: str) -> str:
    """The name of somebody who labels, in one line.

    Raises
    ------
    InputError
        If it is blank or too long.
    """
    name = in_one_line(name, LONGEST_NAME + 1).strip()
    if not name or len(name) > LONGEST_NAME:
        raise InputError(f"A name has 1 to {LONGEST_NAME} characters.")
    return name


def project_name(file: str) -> str:
    """The name of a project after a file: ``My reviews.csv.gz`` -> ``My-reviews``."""
    stem = re.split(r"[/\\]", file)[-1].partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:LONGEST_NAME] or "texts"


def _class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names as declarations have them: sentiments in lower case and in their order."""
    names = list(map(declared_name, classes))
    check_names(names)
    return merged([names])


def _read_labels(file: Path, columns: tuple[str | None, str | None]) -> Iterable[Said]:
    from pipelines.labelling.exchange import Said, read_label_studio
    from pipelines.tables.reading import open_table

    table = open_table(file)
    if {"data", "annotations"} <= set(table.columns):
        return read_label_studio(file.read_bytes(), file.name)
    text, label = table.text_column(columns[0]), table.label_column(columns[1])
    own = {"answer", "annotator", "note", "at"} & set(table.columns)
    if columns[1] is None and "answer" in own:
        label = "answer"
    rows = (
        row
        for batch in table.batches([text, label, *own])
        for row in batch.frame.iter_rows(named=True)
    )
    return [
        Said(
            text=row[text],
            answer=row[label].strip(),
            **{key: row[key] or "" for key in own - {"answer"}},
        )
        for row in rows
        if (row[text] or "").strip() and (row[label] or "").strip()
    ]

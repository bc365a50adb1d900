"""Labels as files: CSV for tables and data sets, and the JSON of Label Studio."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from pipelines.errors import DataError
from pipelines.labelling.agreement import verdicts
from pipelines.labelling.store import (
    PERSON,
    Label,
    LabelStore,
    NewLabel,
    Project,
    Settlement,
    Text,
)
from pipelines.labels import shown_name
from pipelines.text.showing import in_one_line, showable

Format = Literal["csv", "label-studio"]

COLUMNS: Final = ("text", "label", "annotator", "answer", "note", "at", "test")
"""Of the CSV file. `label` is what counts (empty: in dispute), `answer` what this person said."""
_STAMP: Final = 40
"""Characters of a time."""
_CONTROL: Final = "sentiment"
_NOTE: Final = "note"
_OBJECT: Final = "text"


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One person's label of one text, as a file has it."""

    text: str
    answer: str
    annotator: str = ""
    note: str = ""
    at: str = ""


def export(store: LabelStore, project: Project, form: Format) -> bytes:
    """The labels of a project as a file, one row or annotation for each label; UTF-8."""
    labels, settlements = store.labels(project), store.settlements(project)
    texts = {each.id: each for each in store.texts(project)}
    write = _as_csv if form == "csv" else _as_label_studio
    return write(texts, labels, settlements)


def _as_csv(
    texts: Mapping[int, Text], labels: Sequence[Label], settlements: Sequence[Settlement]
) -> bytes:
    counting = verdicts(labels, settlements)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for each in labels:
        if each.answer is not None:
            text = texts[each.text]
            said = (each.annotator, each.answer, each.note, each.at, str(text.test).lower())
            writer.writerow((text.text, counting.get(each.text, ""), *said))
    return out.getvalue().encode()


def _as_label_studio(
    texts: Mapping[int, Text], labels: Sequence[Label], settlements: Sequence[Settlement]
) -> bytes:
    """A task for each labelled text; what was decided is the annotation of the ground truth."""
    by_text: dict[int, list[dict[str, Any]]] = {}
    for each in labels:
        if each.answer is not None:
            by_text.setdefault(each.text, []).append(_annotation(each, each.answer))
    for decided in settlements:
        annotation = _annotation(decided, decided.answer) | {"ground_truth": True}
        by_text.setdefault(decided.text, []).append(annotation)
    tasks = [
        {
            "id": text,
            "data": {_OBJECT: texts[text].text, "test": texts[text].test},
            "annotations": annotations,
        }
        for text, annotations in by_text.items()
    ]
    return msgspec.json.format(msgspec.json.encode(tasks), indent=1) + b"\n"


def _annotation(said: Label | Settlement, answer: str) -> dict[str, Any]:
    shown = shown_name(answer)
    result = [_result(_CONTROL, "choices", {"choices": [shown]})]
    if said.note:
        result.append(_result(_NOTE, "textarea", {"text": [said.note]}))
    return {
        "completed_by": {"first_name": said.annotator},
        "created_at": said.at,
        "was_cancelled": False,
        "ground_truth": False,
        "result": result,
    }


def _result(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": _OBJECT, "type": kind, "value": value}


def read_label_studio(content: bytes, name: str) -> list[Said]:
    """The labels in an export of Label Studio, a task for each text.

    Of a task, the text is the only string in its data, or the one called `text`; of an annotation,
    the label is its first choice. Skipped tasks are left out.

    Raises
    ------
    DataError
        If it is no such file.
    """
    try:
        tasks = msgspec.json.decode(content, type=list[dict[str, Any]])
        return [said for task in tasks for said in _task(task)]
    except (msgspec.DecodeError, msgspec.ValidationError, LookupError, TypeError) as error:
        raise DataError(
            f"{name} is no export of Label Studio: {type(error).__name__}: {str(error)[:200]}. "
            "Export it there as JSON, not as JSON-MIN."
        ) from None


def _task(task: Mapping[str, Any]) -> Iterator[Said]:
    data = {key: value for key, value in task["data"].items() if isinstance(value, str)}
    text = data.get(_OBJECT) or next(iter(data.values()))
    for annotation in task.get("annotations") or ():
        choices = [each for each in annotation["result"] if each["type"] == "choices"]
        if annotation.get("was_cancelled") or not choices or annotation.get("ground_truth"):
            continue
        notes = [each for each in annotation["result"] if each["type"] == "textarea"]
        yield Said(
            text=text,
            answer=choices[0]["value"]["choices"][0],
            annotator=_person(annotation.get("completed_by")),
            note="\n".join(notes[0]["value"]["text"]) if notes else "",
            at=str(annotation.get("created_at") or ""),
        )


def _person(completed_by: Any) -> str:
    """Who it was: an ID, or an account with an address and names."""
    if isinstance(completed_by, Mapping):
        names = [completed_by.get(key) for key in ("first_name", "last_name")]
        full = " ".join(name for name in names if name)
        return full or str(completed_by.get("email") or completed_by.get("id") or "")
    return "" if completed_by is None else str(completed_by)


def take_in(
    store: LabelStore,
    project: Project,
    said: Iterable[Said],
    places: Sequence[int],
    annotator: str,
) -> int:
    """Add labels to a project, and their texts where they are new.

    Parameters
    ----------
    store : LabelStore
    project : Project
    said : n labels
    places : sequence of n int
        Of their texts.
    annotator : str
        Of labels that name nobody.

    Returns
    -------
    int
        How many labels these are.

    Raises
    ------
    DataError
        If a label is no class of the project; nothing is added then.
    """
    said = list(said)
    classes = {name.casefold(): name for name in project.classes}
    unknown = sorted({each.answer for each in said if each.answer.casefold() not in classes})
    if unknown:
        raise DataError(
            f"{', '.join(map(repr, unknown[:5]))}: no class of {project.name}, which has "
            f"{', '.join(project.classes)}."
        )
    store.add_texts(project, [(place, each.text) for place, each in zip(places, said, strict=True)])
    ids = {text.place: text.id for text in store.texts(project)}
    store.put(
        project,
        [
            NewLabel(
                text=ids[place],
                annotator=in_one_line(each.annotator, PERSON) or annotator,
                answer=classes[each.answer.casefold()],
                note=showable(each.note),
                at=each.at[:_STAMP],
            )
            for place, each in zip(places, said, strict=True)
        ],
    )
    return len(said)

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pipelines.config.settings import Labels, Paths, Settings
from pipelines.errors import DataError, InputError
from pipelines.labelling.exchange import COLUMNS
from pipelines.tables.reading import open_table
from pipelines.workflows.label import Labelling, person, project_name

FILE = 'body,n\n"Lovely, really",1\nAwful,2\n"Lovely,  really",3\n,4\nSo so,5\n'


@pytest.fixture
def labelling(tmp_path: Path) -> Labelling:
    return Labelling(
        Settings(
            root=tmp_path,
            paths=Paths(models=tmp_path / "models"),
            labels=Labels(storage=f"sqlite:///{tmp_path}/labels/labels.db"),
        )
    )


@pytest.fixture
def labelled(labelling: Labelling, tmp_path: Path) -> Labelling:
    """Three texts, of which two people have labelled some."""
    (tmp_path / "a.csv").write_text(FILE)
    added = labelling.add_texts(open_table(tmp_path / "a.csv"), "a", "body")
    assert (added.new, added.classes) == (3, ("negative", "positive"))
    assert "Left out: 1 row without a text." in added.messages
    assert "Left out: 1 row with a text seen before." in added.messages
    learning = labelling.open("a")
    texts = {each.text: each.id for each in learning.texts.values()}
    learning.label("ann", texts["Lovely, really"], "positive", "=1+1")
    learning.label("ann", texts["Awful"], "negative")
    learning.label("bob", texts["Awful"], "positive")
    learning.label("bob", texts["So so"], None)
    return labelling


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(content.decode().splitlines()))


def test_a_row_for_each_label(labelled: Labelling) -> None:
    exported = rows(labelled.export("a", "csv"))
    assert tuple(exported[0]) == COLUMNS
    assert [(r["text"], r["label"], r["annotator"], r["answer"]) for r in exported] == [
        ("Lovely, really", "positive", "ann", "positive"),
        ("Awful", "", "ann", "negative"),
        ("Awful", "", "bob", "positive"),
    ]
    learning = labelled.open("a")
    learning.settle("cat", learning.disputes()[0].text, "negative")
    assert {r["label"] for r in rows(labelled.export("a", "csv"))[1:]} == {"negative"}


@pytest.mark.parametrize("form", ["csv", "label-studio"])
def test_what_was_exported_can_be_imported(labelled: Labelling, tmp_path: Path, form: str) -> None:
    content = labelled.export("a", form)  # type: ignore[arg-type]
    file = tmp_path / ("out.csv" if form == "csv" else "out.json")
    file.write_bytes(content)
    added = labelled.take_in(file, "b", "me")
    assert (added.labels, added.new, added.classes) == (3, 2, ("negative", "positive"))
    assert labelled.export("b", form) == content or form == "label-studio"
    assert rows(labelled.export("b", "csv")) == rows(labelled.export("a", "csv"))


def test_the_json_is_that_of_label_studio(labelled: Labelling) -> None:
    first, second = json.loads(labelled.export("a", "label-studio"))
    assert first["data"]["text"] == "Lovely, really"
    [annotation] = first["annotations"]
    choice, note = annotation["result"]
    assert choice == {
        "from_name": "sentiment",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": ["Positive"]},
    }
    assert note["value"] == {"text": ["=1+1"]}
    assert len(second["annotations"]) == 2


def test_an_export_of_label_studio_with_accounts_and_skipped_tasks(
    labelling: Labelling, tmp_path: Path
) -> None:
    def annotation(who: object, choice: str, **more: object) -> dict[str, object]:
        value = {"choices": [choice]}
        result = [{"type": "choices", "from_name": "s", "to_name": "t", "value": value}]
        return {"completed_by": who, "result": result, **more}

    tasks = [
        {"id": 1, "data": {"review": "Fine"}, "annotations": [annotation(7, "Neutral")]},
        {
            "id": 2,
            "data": {"review": "Bad"},
            "annotations": [
                annotation({"email": "ann@example.org"}, "Negative"),
                annotation(7, "Positive", was_cancelled=True),
            ],
        },
    ]
    file = tmp_path / "export.json"
    file.write_text(json.dumps(tasks))
    added = labelling.take_in(file, "c", "me")
    assert (added.labels, added.classes) == (2, ("negative", "neutral"))
    found = rows(labelling.export("c", "csv"))
    assert [(r["text"], r["answer"], r["annotator"]) for r in found] == [
        ("Fine", "neutral", "7"),
        ("Bad", "negative", "ann@example.org"),
    ]


def test_any_labelled_file(labelled: Labelling, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("review,label\nGrand,POSITIVE\nAwful,negative\n")
    added = labelled.take_in(tmp_path / "more.csv", "a", "dan")
    assert (added.labels, added.new) == (2, 1)
    by = labelled.open("a").progress().by_annotator
    assert by == {"ann": 2, "bob": 1, "dan": 2}
    (tmp_path / "bad.csv").write_text("review,label\nGrand,superb\n")
    with pytest.raises(DataError, match="'superb': no class of a, which has negative, positive"):
        labelled.take_in(tmp_path / "bad.csv", "a", "dan")


def test_the_exported_file_is_a_data_set(labelled: Labelling, tmp_path: Path) -> None:
    """The declaration that the command prints, read as `olens preprocess` reads it."""
    from pipelines.config.params import Dataset
    from pipelines.datasets.cleaning import clean
    from pipelines.datasets.sources import Source

    file = tmp_path / "a-labels.csv"
    file.write_bytes(labelled.export("a", "csv"))
    labels = {"negative": ["negative"], "positive": ["positive"]}
    declaration = Dataset(path=file.name, text="text", label="label", labels=labels)
    texts, tally, _ = clean(Source(file, declaration, "a"))
    assert texts["text"].to_list() == ["Lovely, really"]
    assert (tally.kept, tally.blank_label, tally.unknown_label) == (1, 2, 0)


def test_other_classes_need_a_project_of_their_own(labelled: Labelling, tmp_path: Path) -> None:
    table = open_table(tmp_path / "a.csv")
    with pytest.raises(InputError, match="has the classes negative, positive"):
        labelled.add_texts(table, "a", "body", ["ham", "spam"])
    added = labelled.add_texts(table, "d", "body", ["Positive", "neutral", "negative"])
    assert added.classes == ("negative", "neutral", "positive")
    assert labelled.add_texts(table, "a", "body").new == 0


@pytest.mark.parametrize(
    ("file", "name"),
    [("C:\\x\\My reviews.csv.gz", "My-reviews"), ("ü.csv", "texts"), ("a/b.v2.csv", "b")],
)
def test_projects_are_called_after_their_file(file: str, name: str) -> None:
    assert project_name(file) == name


def test_names_of_people_are_short_and_in_one_line() -> None:
    assert person(" Ann  Lee ") in ("Ann Lee", "Ann  Lee")
    for wrong in ("", " ", "x" * 61):
        with pytest.raises(InputError):
            person(wrong)

"""`olens label` and `olens labels`: from a file to a page, and from labels to a model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.integration.commands import OLENS, Olens, clean_environment, olens
from tests.integration.test_adapt_command import folder, labelled, write
from tests.support import PATIENCE, wait_for

__all__ = ["folder", "olens"]


def test_labels_in_and_out_and_a_model_of_them(folder: Path, olens: Olens) -> None:
    file = write(folder, labelled())
    done = olens("labels", "import", "mine", file, "--as", "Ann", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["labels"] == 80
    stats = json.loads(olens("labels", "stats", "mine", "--json").out)
    assert stats["labelled"] == 80
    assert stats["by_annotator"] == {"Ann": 80}
    assert stats["accuracy"]["texts"] == 80 - stats["learnt_from"] > 5
    assert "mine" in olens("labels", "stats").out

    exported = olens("labels", "export", "mine", "--output", "out.csv")
    assert "path: out.csv" in exported.out
    assert olens("labels", "import", "copy", "out.csv").code == 0
    again = json.loads(olens("labels", "stats", "copy", "--json").out)
    assert again["by_annotator"] == {"Ann": 80}

    arguments = ("--model", "mine", "--activate", "--json")
    trained = olens("labels", "train", "mine", *arguments)
    assert trained.code == 0, trained.err
    found = json.loads(trained.out)
    accuracies = {kind: f["metrics"]["accuracy"] for kind, f in found["figures"].items()}
    assert accuracies["adapted"] >= accuracies["start"]
    assert found["cached_id"] == "mine-v1"
    shown = json.loads(olens("models", "show", "mine-v1", "--json").out)
    assert shown["tags"]["language"] == "en"
    verdict = olens("predict", "--json", "My quimpish sofa", "My zorbly sofa")
    assert [each["prediction"] for each in json.loads(verdict.out)] == ["NEGATIVE", "POSITIVE"]


def test_projects_and_texts_are_removed(folder: Path, olens: Olens) -> None:
    olens("labels", "import", "mine", write(folder, labelled()), "--as", "Ann")
    asked = olens("labels", "remove", "mine", "--containing", "ZORBLY")
    assert asked.code == 1
    assert "Delete 20 texts of mine" in asked.message
    assert "contains that" in olens("labels", "remove", "mine", "--containing", "nothing of it").out
    removed = olens("labels", "remove", "mine", "--containing", "ZORBLY", "--yes")
    assert removed.out == "Deleted: 20 texts of mine.\n"
    stats = json.loads(olens("labels", "stats", "mine", "--json").out)
    assert stats["labelled"] == stats["texts"] == 60
    assert b"zorbly" not in (folder / "labels/labels.db").read_bytes()
    assert olens("labels", "remove", "mine", stdin="y\n").code == 0
    assert "There is no labelling project" in olens("labels", "stats", "mine").message
    assert b"sofa" not in (folder / "labels/labels.db").read_bytes()


# Labels, learns and exports while nothing of the extra `train` can be imported.
SERVING = """
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in set(sys.argv[1].split()):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
from pipelines.config.settings import load_settings
from pipelines.tables.reading import open_table
from pipelines.workflows.label import Labelling

labelling = Labelling(load_settings())
labelling.add_texts(open_table(Path(sys.argv[2])), "pile", "body")
learning = labelling.open("pile")
for _ in range(60):
    text = learning.next("ann")
    learning.guess(text)
    learning.label("ann", text.id, "positive" if "zorbly" in text.text else "negative")
learning.learn()
print(learning.progress().learnt_from, len(labelling.export("pile", "csv").splitlines()))
"""
NOT_SERVING = (
    "alembic cleanlab dvc kagglehub matplotlib optuna pandas psycopg2 pyarrow sqlalchemy "
    "vaderSentiment"
)


def test_the_installation_that_serves_can_label(folder: Path) -> None:
    file = write(folder, labelled())
    done = subprocess.run(
        [sys.executable, "-c", SERVING, NOT_SERVING, file],
        cwd=folder,
        env=clean_environment(OLENS_ROOT=str(folder)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    learnt_from, lines = map(int, done.stdout.split())
    assert learnt_from == 48
    assert lines == 61


def test_three_classes(folder: Path, olens: Olens) -> None:
    rows = [*labelled(), *((f"The {n}th usual and plain thing", "neutral") for n in range(30))]
    done = olens("labels", "import", "three", write(folder, rows))
    assert done.code == 0, done.err
    trained = olens("labels", "train", "three", "--model", "three", "--json")
    assert trained.code == 0, trained.err
    found = json.loads(trained.out)
    assert list(found["figures"]) == ["scratch"]
    verdict = olens("predict", "--model", "three-v1", "--json", "A usual, plain sofa")
    assert json.loads(verdict.out)[0]["prediction"] == "NEUTRAL"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("labels", "stats", "nothing"), "There is no labelling project 'nothing'"),
        (("labels", "train", "nothing"), "There is no labelling project 'nothing'"),
        (("labels", "import", "x y", "mine.csv"), "is no name for a project"),
        (("label", "mine.csv", "--classes", "one"), "2 to 100 are possible"),
        (("label", "none.csv"), "none.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_explained(
    folder: Path, olens: Olens, arguments: tuple[str, ...], said: str
) -> None:
    write(folder, labelled())
    done = olens(*arguments)
    assert done.code == 1
    assert said in done.message


def test_the_page_that_the_command_opens_and_a_kill_in_the_middle(folder: Path) -> None:
    write(folder, labelled())
    assert label_six(folder) == 0
    assert label_six(folder) == 6


def label_six(folder: Path) -> int:
    """Open the page, label six texts and kill the command; how many were labelled before."""
    log = folder / "label.log"
    arguments = ["label", "mine.csv", "--text-column", "body", "--port", "0", "--as", "Ann"]
    environment = clean_environment(XDG_CACHE_HOME=os.environ["XDG_CACHE_HOME"])
    with log.open("w") as file:
        process = subprocess.Popen([*OLENS, *arguments], stderr=file, cwd=folder, env=environment)
    try:
        link = str(wait_for(lambda: re.search(r"http\S+/admin/link/\S+", log.read_text()))[0])
        with httpx.Client(timeout=PATIENCE, follow_redirects=True) as client:
            page = first = wait_for(lambda: _get(client, link))
            assert "You are Ann" in first
            for _ in range(6):
                number = re.search(r'name="text" value="(\d+)"', page)
                assert number, page
                url = f"{link.partition('/admin')[0]}/label/mine"
                page = client.post(url, data={"text": number[1], "answer": "negative"}).text
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    labelled_before = re.search(r"<strong>(\d+)</strong> of 80 texts labelled", first)
    assert labelled_before, first
    return int(labelled_before[1])


def _get(client: httpx.Client, url: str) -> str:
    try:
        return client.get(url).text
    except httpx.TransportError:
        return ""

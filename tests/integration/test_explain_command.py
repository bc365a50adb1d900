"""`olens explain` from its entry point on, with a model in the cache of a project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from opinionlens_cli.commands import explain
from opinionlens_cli.main import app
from pipelines.cache.model_cache import ModelCache
from pipelines.errors import StorageError
from pipelines.inference.compiling import fuse
from pipelines.inference.pipeline_scorer import PipelineScorer
from pipelines.workflows.open_model import OpenedModel
from tests.fitted import fit_tiny
from tests.integration.commands import Olens
from tests.serving import environment, install_linear
from tests.support import PATIENCE

TEXT = "The food was cold.\r\nBut the <b>waiter</b> was lovely &amp; great! 👍🏽"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the models reviews-v1, which is active, and reviews-v2."""
    models = tmp_path / "models"
    words = {"cold": -2.0, "lovely": 1.5, "great": 1.0}
    active = install_linear(models, 1, 0.25, words)
    install_linear(models, 2, -5.0)
    ModelCache(models).activate(active.id)
    monkeypatch.setenv("OLENS_ROOT", str(tmp_path))
    return tmp_path


def olens(*arguments: str, text: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(app, ["explain", *arguments], input=text)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.usefixtures("project")
def test_marks_words_and_lists_them_for_and_against() -> None:
    shown = olens(TEXT).stdout
    assert shown.startswith("POSITIVE ")
    assert "The food was [--cold].\nBut the <b>waiter</b> was [+lovely] &amp; [+great]!" in shown
    assert re.search(r"for POSITIVE.*\+\S+ +lovely\s.*against.*-\S+ +cold\s", shown, re.S), shown
    assert re.search(r"NEGATIVE \d\d\.\d% +-\d\.\d{3} +The food was cold\.", shown)
    assert "with the bias +0.250" in shown
    assert "reviews-v1" in olens(TEXT).stderr


@pytest.mark.usefixtures("project")
def test_json_offsets_lead_to_what_was_typed_and_add_up() -> None:
    answer = json.loads(olens(TEXT, "--json").stdout)
    assert answer["model"] == "reviews-v1"
    assert [TEXT[w["start"] : w["end"]] for w in answer["words"]] == [
        word["text"] for word in answer["words"]
    ]
    assert [word["text"] for word in answer["words"]][-3:] == ["great", "!", "👍🏽"]
    parts = sum(word["contribution"] for word in answer["words"])
    assert parts + answer["bias"] == pytest.approx(answer["margin"])
    assert [s["prediction"] for s in answer["sentences"]] == ["NEGATIVE", "POSITIVE", "POSITIVE"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_reads_standard_input_without_touching_line_ends(arguments: list[str]) -> None:
    answer = json.loads(olens(*arguments, "--json", text="a\r\ngreat").stdout)
    assert [(word["start"], word["text"]) for word in answer["words"]] == [(0, "a"), (3, "great")]


@pytest.mark.usefixtures("project")
def test_another_model_answers_if_wanted() -> None:
    assert olens("great", "--model", "reviews-v2").stdout.startswith("NEGATIVE 99.3%")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("text", ["😀", "<br>", "great \x1b[31m\x07 red", "[bold]x[/]"])
def test_odd_texts_are_shown_without_commanding_the_terminal(text: str) -> None:
    result = olens("--", text)
    assert result.exit_code == 0
    assert not re.search("[\x00-\x09\x0b-\x1f]", result.stdout)
    assert "[bold]" in result.stdout or "[bold]" not in text


@pytest.mark.usefixtures("project")
def test_on_a_colour_terminal_the_sign_is_an_underline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "out", Console(force_terminal=True, color_system="truecolor"))
    shown = olens("so cold and great").stdout
    cold = re.search(r"\x1b\[([\d;]*)mcold", shown)
    great = re.search(r"\x1b\[([\d;]*)mgreat", shown)
    assert cold
    assert great
    assert "4" in cold[1].split(";")
    assert "4" not in great[1].split(";")
    assert cold[1].split(";")[-3:] != great[1].split(";")[-3:]


class Page(HTMLParser):
    """The tags of a page, its marked words, and all text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "mark":
            self.marks.append((str(dict(attrs)["class"]), ""))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1] == "mark" and self.marks[-1][1] == "":
            self.marks[-1] = (self.marks[-1][0], data)


def test_the_page_shows_the_text_escaped_and_needs_nothing_else(project: Path) -> None:
    file = project / "why.html"
    text = f"{TEXT} <script>alert(1)</script> \x00\x1b"
    assert olens(text, "--html", str(file)).exit_code == 0
    source = file.read_text(encoding="utf-8")
    page = Page(source)
    assert "script" not in page.tags
    assert "<script>alert(1)</script> \ufffd\ufffd" in page.text
    assert ("minus-2", "cold") in page.marks
    assert ("plus-1", "lovely") in page.marks
    assert not re.search(r"(src|href)=|@import|url\(", source)
    assert re.search(r'<html lang="en">.*<meta charset="utf-8">.*<title>Positive', source, re.S)
    assert "prefers-color-scheme: dark" in source
    assert "reviews-v1" in page.text


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "why.html"
    file.write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match=r"why\.html: the disk is full"):
        olens("great", "--html", str(file))
    assert file.read_text() == "old"
    assert [path.name for path in project.glob("*why*")] == ["why.html"]
    assert [path.name for path in project.glob(".why*")] == []


def test_a_fitted_linear_model_and_a_forest(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = fuse(fit_tiny("nbsvm"))
    forest = PipelineScorer(fit_tiny("random_forest"))
    answers = {}
    for name, scorer in {"linear": linear, "forest": forest}.items():
        opened = OpenedModel(name, scorer)
        monkeypatch.setattr("pipelines.workflows.open_model.open_model", lambda *_, o=opened: o)
        answers[name] = json.loads(olens("cold food, lovely waiter", "--json").stdout)
        page = project / f"{name}.html"
        shown = olens("cold food, lovely waiter", "--html", str(page)).stdout
        assert "[---" in shown or "[+++" in shown
        exact = "exact" if name == "linear" else "approximate"
        assert f"Parts are {exact}" in shown
        assert f"Parts are {exact}" in page.read_text(encoding="utf-8")
    assert answers["linear"]["exact"]
    assert not answers["forest"]["exact"]
    assert answers["forest"]["margin"] is None


def test_errors_are_one_line(project: Path, olens: Olens) -> None:
    (project / "file").touch()
    done = olens("explain", "great", "--html", str(project / "file" / "why.html"))
    assert done.code == 1
    assert re.fullmatch(r"Error: \S*why\.html: cannot be written: \S.*", done.message)
    assert done.out == ""


def test_without_an_active_model_the_base_model_answers(tmp_path: Path, olens: Olens) -> None:
    done = olens("--root", str(tmp_path), "explain", "great")
    assert done.code == 0
    assert done.message.startswith("model: base ")
    assert "POSITIVE" in done.out


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path, olens: Olens) -> None:
    done = olens("--root", str(tmp_path), "explain", "great", "--model", "reviews-v9")
    assert done.code == 1
    assert done.err.startswith("Error: ")
    assert "Traceback" not in done.err


def test_a_linear_model_is_explained_without_mlflow_and_scikit_learn(project: Path) -> None:
    code = (
        "import sys; sys.argv = ['olens', 'explain', 'A great film. So cold!', '--json']\n"
        "from opinionlens_cli.main import app\n"
        "try: app()\n"
        "finally: print(sorted({'mlflow', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == "[]\n"
    assert json.loads(result.stdout)["prediction"] == "NEGATIVE"

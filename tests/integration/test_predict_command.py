"""`olens predict` from its entry point on, with the base model, outside of any project."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from opinionlens_cli.commands import predict
from tests.integration.commands import Olens


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an empty user cache."""
    monkeypatch.delenv("OLENS_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_arguments_are_judged_and_the_model_is_named(olens: Olens) -> None:
    done = olens("predict", "Lovely!", "Cold food, rude waiter")
    assert re.fullmatch(r"POSITIVE +\d+\.\d%  Lovely!\nNEGATIVE .*waiter\n", done.out)
    assert done.message == "model: base (comes with OpinionLens)"


def test_lines_of_standard_input_are_texts(olens: Olens) -> None:
    stdin = "\ufeffA lovely film\r\n\r\nAwful\x0c broken\nlast"
    found = json.loads(olens("predict", "--json", stdin=stdin).out)
    assert [verdict["text"] for verdict in found] == ["A lovely film", "Awful\x0c broken", "last"]


@pytest.mark.parametrize("name", ["reviews.csv", "my reviews.parquet", "notes.txt", "noending"])
@pytest.mark.parametrize("command", ["predict", "explain"])
def test_the_name_of_a_file_is_not_a_text(
    olens: Olens, nowhere: Path, command: str, name: str
) -> None:
    (nowhere / name).write_text("text,label\nlovely,1\n")
    done = olens(command, name)
    assert (done.code, done.out) == (2, "")
    assert "is a file, not a text" in plain(done.message)
    assert "olens predict" in plain(done.message)


@pytest.mark.parametrize(
    "table",
    [
        "text,label\nA lovely film,1\n",
        "id;Review\n1;Lovely\n2;Awful\n",
        "id\ttext\n1\tLovely\n",
        '"review","stars"\n"Lovely, really",5\n',
        'review,stars\n"A lovely film.\nReally.",5\n"Good, but, long",3\n',
        '{"text": "lovely"}\n{"text": "awful"}\n',
    ],
)
def test_a_table_on_standard_input_is_refused_unless_its_lines_are_wanted(
    olens: Olens, table: str
) -> None:
    done = olens("predict", stdin=table)
    assert (done.code, done.out) == (2, "")
    assert "standard input is a table" in plain(done.message)
    assert olens("predict", "--lines", stdin=table).code == 0


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_the_name_of_a_folder_or_a_bucket_is_not_a_text(
    olens: Olens, nowhere: Path, command: str
) -> None:
    (nowhere / "my reviews").mkdir()
    done = olens(command, "my reviews")
    assert (done.code, done.out) == (2, "")
    assert "is a folder, not a text" in plain(done.message)
    assert "olens predict --data 'my reviews'" in plain(done.message)
    assert "olens predict --data s3://bucket/in/" in plain(
        olens(command, "s3://bucket/in/").message
    )


def test_a_file_that_is_not_there_is_not_a_text(olens: Olens) -> None:
    done = olens("predict", "nothing.csv")
    assert done.code == 2
    assert "there is no such file" in plain(done.message)
    assert olens("predict", "I read all.csv files").code == 0


def test_input_that_is_not_utf_8_is_refused(olens: Olens) -> None:
    done = olens("predict", stdin="café lovely\n".encode("windows-1252"))
    assert done.code == 0
    assert "not UTF-8: byte 3" in done.message
    for content in ("lovely\n".encode("utf-16"), b"PAR1\0\0", b"PK\x03\x04\0"):
        assert olens("predict", stdin=content).code == 2


@pytest.mark.parametrize(
    "lines",
    ["Lovely, really\nAwful, truly\n", "text me, please\nno\n", "I liked the text; the rest, no\n"],
)
def test_lines_with_commas_are_texts(olens: Olens, lines: str) -> None:
    done = olens("predict", stdin=lines)
    assert (done.code, len(done.out.splitlines())) == (0, lines.count("\n"))
    assert "Warning" not in done.err


def test_a_header_of_one_column_is_noticed(olens: Olens) -> None:
    assert "looks like the name of a column" in olens("predict", stdin="review\nLovely\n").message


@pytest.mark.parametrize("arguments", [["predict", ""], ["explain", ""], ["predict", "good", " "]])
def test_an_empty_text_is_refused(olens: Olens, arguments: list[str]) -> None:
    done = olens(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "the text is empty" in plain(done.message)
    assert olens(arguments[0], stdin=" \n").code == 2


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_text_does_not_command_the_terminal(olens: Olens, option: list[str]) -> None:
    text = "lovely\x1b[2J\x07\x9b31m\x00\x7f\u202e"
    for command in ("predict", "explain"):
        done = olens(command, *option, text)
        assert done.code == 0
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.out), command
    assert json.loads(olens("predict", "--json", text).out)[0]["text"] == text


def test_bytes_that_are_not_utf_8_are_replaced(olens: Olens) -> None:
    for command in ("predict", "explain"):
        assert olens(command, "lovely \udcff", "--json").code == 0
    assert json.loads(olens("predict", "lovely \udcff", "--json").out)[0]["text"] == "lovely \ufffd"


def test_labels_are_coloured_on_a_terminal_only(
    olens: Olens, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in olens("predict", "Lovely").out
    monkeypatch.setattr(predict, "out", Console(force_terminal=True, color_system="standard"))
    assert "\x1b[32mPOSITIVE\x1b[0m" in olens("predict", "Lovely").out


def test_many_lines_are_written_at_once(olens: Olens, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON is: Rich would be called for every line otherwise."""
    printed: list[object] = []
    plain_print = Console.print
    monkeypatch.setattr(
        Console, "print", lambda self, *a, **k: (printed.append(a), plain_print(self, *a, **k))
    )
    assert len(olens("predict", stdin="Lovely\n" * 1_000).out.splitlines()) == 1_000
    assert len(printed) < 10


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "predict", "x", "--model", "./no"],
        ["predict", "x", "--model", "./no", "--debug"],
    ],
)
def test_debug_works_at_any_position(olens: Olens, arguments: list[str]) -> None:
    from pipelines.errors import ModelNotFoundError

    with pytest.raises(ModelNotFoundError):
        olens(*arguments)
    assert olens("predict", "x", "--model", "./no").code == 1


def test_debug_behind_two_dashes_is_a_text(olens: Olens) -> None:
    assert olens("predict", "--", "--debug").out.endswith("--debug\n")


def test_a_defect_is_one_line_that_says_where_to_report_it(
    olens: Olens, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret\x1b[31m")

    monkeypatch.setattr("pipelines.workflows.open_model.resolve", broken)
    done = olens("predict", "x")
    assert done.code == 1
    assert "ZeroDivisionError" in done.message
    assert "/issues" in done.message
    assert "Traceback" not in done.message
    assert "\x1b" not in done.message


def test_models_live_in_the_cache_of_the_user_where_there_is_no_project(
    olens: Olens, nowhere: Path
) -> None:
    from tests.serving import install_linear

    install_linear(nowhere.parent / "cache" / "opinionlens" / "models", 1, -5.0)
    base, _, mine = json.loads(olens("models", "list", "--cached", "--json").out)
    assert (base["id"], base["active"], mine["id"]) == ("base", True, "reviews-v1")
    assert olens("predict", "Lovely", "--model", "reviews").out.startswith("NEGATIVE")
    assert olens("models", "activate", "reviews/1").out == "reviews-v1 is active\n"
    assert olens("predict", "Lovely").out.startswith("NEGATIVE")
    assert "reviews-v1 answers" in " ".join(
        finding["detail"].replace("(linear) ", "")
        for finding in json.loads(olens("doctor", "--json").out)
    )
    assert list(nowhere.iterdir()) == []


def plain(message: str) -> str:
    """What Typer says in a box, without the box."""
    return " ".join(message.replace("│", " ").split())


TABLE = 'id;review;note\r\n1;"A lovely film";x\r\n2;;y\r\n3;"Cold food, rude waiter";z\r\n'


def test_the_rows_of_a_file_are_judged_in_order(olens: Olens, nowhere: Path) -> None:
    (nowhere / "r.csv").write_text(TABLE, newline="")
    done = olens("predict", "--data", "r.csv")
    assert [line.split()[0] for line in done.out.splitlines()] == ["POSITIVE", "no", "NEGATIVE"]
    assert "separated by semicolons" in done.message
    assert "Texts: column review" in done.message
    rows = json.loads(olens("predict", "--data", "r.csv", "--json").out)
    assert [(row["row"], row["prediction"]) for row in rows] == [
        (1, "POSITIVE"),
        (2, None),
        (3, "NEGATIVE"),
    ]


def test_a_file_comes_back_as_it_was_with_verdicts(olens: Olens, nowhere: Path) -> None:
    (nowhere / "r.csv").write_text(TABLE, newline="", encoding="utf-8-sig")
    done = olens("predict", "--data", "r.csv", "--out", "verdicts.csv", "--text-column", "2")
    assert done.code == 0, done.err
    written = (nowhere / "verdicts.csv").read_bytes()
    lines = written.decode("utf-8-sig").split("\r\n")
    assert written.startswith(b"\xef\xbb\xbf")
    assert lines[0] == "id;review;note;prediction;confidence;probability;evidence;known;model;row"
    assert re.fullmatch(r"1;A lovely film;x;POSITIVE;0\.\d+;0\.\d+;\w+;[01]\.?\d*;base;1", lines[1])
    assert lines[2] == "2;;y;;;;none;;base;2"
    assert "NEGATIVE" in lines[3]
    assert (
        "verdicts.csv is there already"
        in olens("predict", "--data", "r.csv", "--output", "verdicts.csv").message
    )
    again = olens("predict", "--data", "r.csv", "--out", "verdicts.csv", "--overwrite", "--json")
    assert json.loads(again.out)["rows"] == {"POSITIVE": 1, "NEGATIVE": 1, "": 1}


def test_a_file_that_cannot_be_read_leaves_the_old_verdicts(olens: Olens, nowhere: Path) -> None:
    (nowhere / "old.csv").write_text("old")
    (nowhere / "r.csv").write_text("price,sku\n1,2\n3,4\n")
    done = olens("predict", "--data", "r.csv", "--out", "old.csv", "--overwrite")
    assert done.code == 1
    assert "no column of words" in done.message
    assert (nowhere / "old.csv").read_text() == "old"
    assert olens("predict", "--data", "nothing.csv").code == 1
    assert olens("predict", "text", "--data", "r.csv").code == 2
    assert olens("predict", "text", "--out", "x").code == 2


def test_a_file_is_evaluated_anywhere(olens: Olens, nowhere: Path) -> None:
    (nowhere / "mine.csv").write_text("text,label\nLovely!,positive\nAwful waste,negative\n")
    for model in (["base"], []):
        found = json.loads(olens("evaluate", *model, "--data", "mine.csv", "--json").out)
        assert (found["model"], found["metrics"]["file"]["n"]) == ("base", 2)
    assert [path.name for path in nowhere.iterdir()] == ["mine.csv"]

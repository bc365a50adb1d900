"""Tables, JSON and the next command, as they reach a terminal, a pipe and a narrow window."""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig
from pathlib import Path

import pytest
from rich.console import Console

from opinionlens_cli import console

ID = "m-0123456789abcdef0123456789abcdef"
DATE = "2026-05-04 12:00"
COLUMNS = ["", "model", "where", "aliases", "accuracy", "created"]
ROWS = [
    ("*", "base", "package", "", "0.9130", DATE),
    ("", "reviews-v3", "cached, registered", "champion, new", "0.9230", DATE),
    ("", ID, "logged", "", None, DATE),
]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A terminal of 60 columns, without colours."""
    narrow = Console(width=60, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "out", narrow)
    return narrow


@pytest.mark.usefixtures("terminal")
def test_a_table_that_fits_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(["model", "texts"], [("reviews-v1", 1_234), ("base", 5)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["reviews-v1", "1,234"] in lines
    assert ["model", "texts"] in lines


@pytest.mark.usefixtures("terminal")
def test_ids_and_dates_are_not_broken_in_60_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(COLUMNS, ROWS)
    shown = capsys.readouterr().out
    assert shown.count(DATE) == 3
    assert ID in shown
    assert max(map(len, shown.splitlines())) <= 60
    assert re.search(rf"^model +{ID}$", shown, re.M)


@pytest.mark.usefixtures("terminal")
def test_the_usual_list_of_models_is_a_table_in_60_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    date = DATE.partition(" ")[0]
    console.print_table(COLUMNS, [(*row[:-1], date) for row in ROWS[:2]])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["*", "base", "package", "0.9130", date] in lines
    assert ["reviews-v3", "cached,", "champion,", "0.9230", date] in lines
    assert max(map(len, capsys.readouterr().out.splitlines()), default=0) <= 60


@pytest.mark.usefixtures("terminal")
def test_prose_is_broken_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(["step", "result"], [("tune", "the best of several trials " * 5)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert sum("best" in line for line in lines) > 1


@pytest.mark.usefixtures("terminal")
def test_a_word_that_is_wider_than_the_terminal_is_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = "/home/me/" + "x" * 80
    console.print_table(["key", "value", "source"], [("paths.models", path, "default")])
    assert path in capsys.readouterr().out


def test_in_a_pipe_a_table_is_as_wide_as_it_has_to_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(console, "out", console._Output(force_terminal=False))
    console.print_table(["what", "detail"], [("model", "word " * 60)])
    assert ("word " * 60).strip() in capsys.readouterr().out


def test_columns_of_the_environment_count_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(console, "out", console._Output(force_terminal=False))
    console.print_table(COLUMNS, ROWS)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 60
    assert ID in shown


@pytest.mark.usefixtures("terminal")
def test_cells_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for columns in (["a"], ["a", "b" * 70]):
        console.print_table(columns, [["\x1b[31m\x07[bold]x[/]"] * len(columns)], "title\x1b[2J")
    shown = capsys.readouterr().out
    assert not re.search("[\x07\x1b]", shown)
    assert "[bold]x[/]" in shown


def test_messages_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.warn("a\x1b[2Jb[bold]")
    console.fail("a\x9b2Jb[/]")
    console.note("a\x1b[2Jb\u202e")
    console.say("a\x1b[2Jb[bold]")
    captured = capsys.readouterr()
    shown = captured.err
    assert captured.out == "a\ufffd[2Jb[bold]\n"
    assert "\u202e" not in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
    assert "[bold]" in shown
    assert "[/]" in shown


def test_json_keeps_every_character_and_escapes_what_commands_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "".join(map(chr, range(0x100))) + "\u202e\u2066\u2028 é 👍"
    console.print_json({"text": text})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"text": text}
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert "é 👍" in shown


class TestNext:
    @pytest.fixture(autouse=True)
    def no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("VIRTUAL_ENV", raising=False)
        monkeypatch.delenv("CONDA_PREFIX", raising=False)

    @pytest.fixture
    def scripts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of a project with a virtual environment that has `olens`."""
        folder = tmp_path / "my project" / ".venv" / "bin"
        folder.mkdir(parents=True)
        (folder / "olens").touch(mode=0o755)
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder))
        monkeypatch.setattr(sys, "prefix", str(folder.parent))
        monkeypatch.setenv("PATH", "/bin")
        return folder

    def test_a_program_on_the_path_is_shown_by_name(
        self, scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PATH", f"/bin{os.pathsep}{scripts}")
        console.print_next("fetch reviews")
        assert capsys.readouterr().out == "Next: olens fetch reviews\n"

    def test_a_program_off_the_path_is_shown_by_its_path(
        self, scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(scripts.parents[1])
        console.print_next("fetch reviews")
        assert capsys.readouterr().out == "Next: .venv/bin/olens fetch reviews\n"
        monkeypatch.chdir("/")
        console.print_next("fetch reviews")
        assert capsys.readouterr().out == f"Next: '{scripts}/olens' fetch reviews\n"

    @pytest.mark.parametrize("activated", [True, False])
    def test_a_new_terminal_enters_the_project_and_has_no_environment(
        self,
        scripts: Path,
        activated: bool,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        root = scripts.parents[1]
        monkeypatch.chdir(root)
        if activated:
            monkeypatch.setenv("VIRTUAL_ENV", str(scripts.parent))
            monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}/bin")
        console.print_next("data list", "tune", folder=root, new_terminal=True)
        assert capsys.readouterr().out.splitlines() == [
            "Next, in a new terminal:",
            f"  cd '{root}'",
            "  .venv/bin/olens data list",
            "  .venv/bin/olens tune",
        ]

    def test_a_program_that_was_linked_into_path_is_called_by_its_name(
        self, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As pipx and uv do it."""
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "olens").symlink_to(scripts / "olens")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        assert console._command(tmp_path, new_terminal=True) == "olens"

"""What `make backup` and `make restore` refuse, and what they leave behind when something fails.

Folders are real; PostgreSQL's programs are played by a script here. The real ones are in
`tests/integration/test_backup.py`.
"""

from __future__ import annotations

import os
import pty
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.unit.deployment.merged import DEPLOY

Run = Callable[..., subprocess.CompletedProcess[str]]

PLAYED = """\
#!/bin/sh
# pg_dump prints, pg_restore reads, psql obeys; each writes down what it was asked.
echo "$*" >> "$LOG"
[ "$1" = "$FAIL" ] && exit 3
[ "$1" = pg_dump ] && echo "contents of $4"
[ "$1" = pg_restore ] && cat >> "$LOG"
exit 0
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Folders with something in them."""
    (tmp_path / "played").write_text(PLAYED)
    for name in ("artifacts", "models"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below/file").write_text(f"old {name}")
        (tmp_path / name / ".hidden").write_text("dot")
    (tmp_path / "labels").mkdir()
    with labels(tmp_path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE labels (answer TEXT)")
    return tmp_path


@contextmanager
def labels(here: Path) -> Iterator[sqlite3.Connection]:
    """The database of the labels, which others use at the same time."""
    with closing(sqlite3.connect(here / "labels/labels.db", isolation_level=None)) as database:
        yield database


@pytest.fixture
def run(here: Path) -> Run:
    def run(
        command: str,
        *options: str,
        fail: str = "",
        yes: str = "1",
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, str(DEPLOY / "backup.py"), command, str(here / "backups")]
        arguments += ["--postgres", f"sh {here / 'played'}"]
        for name in ("artifacts", "models", "labels"):
            arguments += [f"--{name}", "sh", str(here / name)]
        arguments += ["--stop", f"touch {here / 'stopped'}", "--start", f"touch {here / 'started'}"]
        environment = {**os.environ, "LOG": str(here / "log"), "FAIL": fail, "YES": yes}
        return subprocess.run(
            [*arguments, *options],
            env=environment,
            stdin=stdin,
            capture_output=True,
            text=True,
        )

    return run


def backups(here: Path) -> list[Path]:
    return sorted((here / "backups").glob("[0-9]*"))


def spoil(here: Path) -> None:
    """What is there now is not what was backed up."""
    (here / "artifacts/below/file").write_text("new artifacts")
    (here / "artifacts/more").write_text("to go away")
    (here / "models/.hidden").unlink()


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_backup_is_restored(here: Path, run: Run):
    before = {name: contents(here / name) for name in ("artifacts", "models")}
    assert run("backup").returncode == 0
    spoil(here)

    done = run("restore")

    assert done.returncode == 0, done.stderr
    assert {name: contents(here / name) for name in before} == before
    log = (here / "log").read_text()
    assert log.count("contents of mlflow\n") == log.count("contents of mlflow_auth\n") == 1
    assert (here / "stopped").exists()
    assert (here / "started").exists()


def test_labels_are_backed_up_while_people_label(here: Path, run: Run):
    with labels(here) as database:
        database.execute("INSERT INTO labels VALUES ('positive')")
        assert (here / "labels/labels.db-wal").stat().st_size
        assert run("backup").returncode == 0
        database.execute("DELETE FROM labels")

    assert run("restore").returncode == 0

    assert [path.name for path in (here / "labels").iterdir()] == ["labels.db"]
    with labels(here) as database:
        assert database.execute("SELECT answer FROM labels").fetchall() == [("positive",)]


def test_a_backup_without_labels_leaves_them_alone(here: Path, run: Run):
    run("backup")
    (backup,) = backups(here)
    sums = (backup / "SHA256SUMS").read_text().splitlines(keepends=True)
    (backup / "SHA256SUMS").write_text("".join(s for s in sums if "labels" not in s))
    (backup / "labels.tar").unlink()

    assert run("restore").returncode == 0
    assert (here / "labels/labels.db").exists()


def test_a_backup_is_for_its_owner_but_its_time_is_for_the_exporter(here: Path, run: Run):
    run("backup")
    (backup,) = backups(here)

    assert stat.S_IMODE((here / "backups").stat().st_mode) == 0o700
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    metric = here / "backups/metrics/backup.prom"
    assert stat.S_IMODE(metric.stat().st_mode) == 0o644
    assert stat.S_IMODE(metric.parent.stat().st_mode) == 0o755
    name, _, value = metric.read_text().splitlines()[-1].partition(" ")
    assert name == "opinionlens_backup_last_success_timestamp_seconds"
    assert abs(float(value) - metric.stat().st_mtime) < 60


def test_other_programs_can_check_the_sums(here: Path, run: Run):
    run("backup")
    (backup,) = backups(here)

    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=backup, capture_output=True)

    assert done.returncode == 0
    assert done.stdout.count(b": OK") == 5


def test_a_failed_backup_leaves_nothing_behind(here: Path, run: Run):
    run("backup")
    backups(here)[0].rename(here / "backups/2020-01-01T000000Z")
    metric = (here / "backups/metrics/backup.prom").read_text()
    before = sorted((here / "backups").iterdir())

    done = run("backup", fail="pg_dump")

    assert done.returncode == 1
    assert "pg_dump" in done.stderr
    assert sorted((here / "backups").iterdir()) == before
    assert (here / "backups/metrics/backup.prom").read_text() == metric


def test_a_missing_folder_is_no_empty_backup(here: Path, run: Run):
    done = run("backup", "--models", "sh", str(here / "elsewhere"))

    assert done.returncode == 1
    assert backups(here) == []


@pytest.mark.parametrize(("code", "accepted"), [(1, True), (2, False)])
def test_a_file_may_change_while_it_is_backed_up(
    here: Path, run: Run, code: int, accepted: bool, monkeypatch: pytest.MonkeyPatch
):
    # tar's exit codes: 1 for a file that changed, 2 for what cannot be saved.
    (here / "bin").mkdir()
    saving = f"case $* in *--exclude*) exit {code};; esac"
    (here / "bin/tar").write_text(f"#!/bin/sh\n{saving}\n")
    (here / "bin/tar").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")

    assert (run("backup").returncode == 0) is accepted


def test_old_backups_are_removed(here: Path, run: Run):
    for name in ("2020-01-01T000000Z", "2021-01-01T000000Z"):
        (here / "backups" / name).mkdir(parents=True)
        (here / "backups" / name / "SHA256SUMS").touch()

    assert run("backup", "--keep", "2").returncode == 0

    assert len(backups(here)) == 2
    assert backups(here)[0].name == "2021-01-01T000000Z"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    ],
    ids=["a flipped byte", "missing", "longer"],
)
@pytest.mark.parametrize("name", ["mlflow.dump", "mlflow_auth.dump", "artifacts.tar", "models.tar"])
def test_a_damaged_backup_is_refused_before_anything_changes(
    here: Path, run: Run, name: str, damage: Callable[[Path], None]
):
    run("backup")
    (backup,) = backups(here)
    damage(backup / name)
    spoil(here)
    before = contents(here / "artifacts")

    done = run("restore")

    assert done.returncode == 1
    assert name in done.stderr
    assert contents(here / "artifacts") == before
    assert not (here / "stopped").exists()


def test_an_unlisted_file_is_no_way_around_the_sums(here: Path, run: Run):
    run("backup")
    (backup,) = backups(here)
    sums = (backup / "SHA256SUMS").read_text().splitlines(keepends=True)
    (backup / "SHA256SUMS").write_text("".join(line for line in sums if "models" not in line))

    assert "models.tar is not what was written" in run("restore").stderr


@pytest.mark.parametrize("yes", ["", "0", "yes"])
def test_without_a_terminal_the_answer_is_no(here: Path, run: Run, yes: str):
    run("backup")
    spoil(here)
    before = contents(here / "artifacts")

    done = run("restore", yes=yes)

    assert done.returncode == 1
    assert "YES=1" in done.stderr
    assert contents(here / "artifacts") == before
    assert not (here / "stopped").exists()


@pytest.mark.parametrize(("answer", "restored"), [("yes\n", True), ("no\n", False), ("\n", False)])
def test_a_terminal_is_asked(here: Path, run: Run, answer: str, restored: bool):
    run("backup")
    spoil(here)
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())

    done = run("restore", yes="", stdin=theirs)

    assert "will replace all models" in done.stdout
    assert (done.returncode == 0) is restored
    kept = "old artifacts" if restored else "new artifacts"
    assert contents(here / "artifacts")["below/file"] == kept
    os.close(ours)
    os.close(theirs)


def test_a_backup_can_be_chosen(here: Path, run: Run):
    run("backup")
    (first,) = backups(here)
    chosen = first.rename(first.with_name("2020-01-01T000000Z"))
    spoil(here)
    run("backup")

    assert run("restore", "--from", str(chosen)).returncode == 0

    assert contents(here / "artifacts")["below/file"] == "old artifacts"


def test_a_failed_restore_keeps_the_databases_and_starts_again(here: Path, run: Run):
    run("backup")
    (here / "log").unlink()
    spoil(here)

    done = run("restore", fail="pg_restore")

    assert done.returncode == 1
    log = (here / "log").read_text()
    assert "DROP DATABASE IF EXISTS mlflow WITH" not in log
    assert "RENAME" not in log
    assert contents(here / "artifacts")["below/file"] == "new artifacts"
    assert (here / "started").exists()


def test_a_folder_that_cannot_be_loaded_keeps_everything(here: Path, run: Run):
    run("backup")
    (backup,) = backups(here)
    (backup / "models.tar").write_text("no archive, but with the right sum")
    files = sorted(path.name for path in backup.iterdir() if path.name != "SHA256SUMS")
    sums = subprocess.run(["sha256sum", *files], cwd=backup, capture_output=True, check=True)
    (backup / "SHA256SUMS").write_bytes(sums.stdout)
    spoil(here)

    assert run("restore").returncode == 1

    assert contents(here / "artifacts")["below/file"] == "new artifacts"
    assert "RENAME" not in (here / "log").read_text()


def test_without_a_backup_there_is_nothing_to_restore(here: Path, run: Run):
    assert "there is no backup in" in run("restore").stderr
    assert "is no backup" in run("restore", "--from", str(here)).stderr

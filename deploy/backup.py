"""Back up the deployment, and restore it: databases, artifacts, cached models, labels.

    python3 deploy/backup.py backup  FOLDER PLACES...
    python3 deploy/backup.py restore FOLDER PLACES...

`make backup` and `make restore` call this. It needs Python's standard library only. PLACES say how
PostgreSQL's programs and the folders are reached: through `docker compose`, or on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

DATABASES = ("mlflow", "mlflow_auth")
OWNER = "mlflow"
FOLDERS = ("artifacts", "models", "labels")
LATER = ("labels",)
"""Folders that old backups do not have."""
SUMS = "SHA256SUMS"
METRIC = "opinionlens_backup_last_success_timestamp_seconds"

# $1 is the folder. tar ends with 1 if a file changed meanwhile; models and artifacts have checksums
# of their own.
SAVE = 'tar --create --file=- --exclude=./.restored --directory "$1" . || [ $? -eq 1 ]'

# A database that is written to meanwhile is copied by SQLite.
SAVE_DATABASES = """\
set -e
cd "$1"
copy=$(mktemp -d)
trap 'rm -r "$copy"' EXIT
python3 -c '
import pathlib, sqlite3, sys
for file in pathlib.Path().glob("*.db"):
    sqlite3.connect(file).backup(sqlite3.connect(pathlib.Path(sys.argv[1], file.name)))
' "$copy"
tar --create --file=- --directory "$copy" .
"""

# What is new stands beside what is old until all of it, also of other folders, is there.
LOAD = """\
set -e
cd "$1"
rm -rf .restored
mkdir .restored
tar --extract --file=- --directory .restored
"""
SWAP = """\
set -e
cd "$1"
find . -mindepth 1 -maxdepth 1 ! -name .restored -exec rm -rf {} +
find .restored -mindepth 1 -maxdepth 1 -exec mv {} . ';'
rmdir .restored
"""


class BackupError(Exception):
    """A failure, with a message."""


@dataclass(frozen=True)
class Places:
    """Access to the data that are backed up."""

    postgres: Sequence[str]
    """What stands before PostgreSQL's programs on a command line."""
    user: str
    """A superuser of PostgreSQL."""
    folders: dict[str, tuple[Sequence[str], str]]
    """By name: what runs a shell where the folder is, and its path there."""
    stop: Sequence[str] = ()
    """Ends what uses all this, before it is replaced."""
    start: Sequence[str] = ()


def back_up(places: Places, folder: Path, keep: int | None = None) -> Path:
    """Write a backup into a new folder below `folder`; all but the last `keep` are removed.

    Databases come first: what a database names is in its folder by then.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    unfinished = folder / f".{name}"
    if (folder / name).exists():
        raise BackupError(f"{folder / name} exists; wait a second")
    unfinished.mkdir(mode=0o700)
    try:
        for database in DATABASES:
            dump = ["pg_dump", "--format=custom", f"--username={places.user}", database]
            with (unfinished / f"{database}.dump").open("wb") as file:
                run([*places.postgres, *dump], stdout=file)
        for kind, (shell, path) in places.folders.items():
            save = SAVE_DATABASES if kind == "labels" else SAVE
            with (unfinished / f"{kind}.tar").open("wb") as file:
                run([*shell, "-c", save, "sh", path], stdout=file)
        lines = [f"{checksum(path)}  {path.name}\n" for path in sorted(unfinished.iterdir())]
        (unfinished / SUMS).write_text("".join(lines))
        done = unfinished.rename(folder / name)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    record(folder / "metrics/backup.prom", time.time())
    if keep:
        for old in backups(folder)[:-keep]:
            shutil.rmtree(old)
    return done


def restore(places: Places, backup: Path) -> None:
    """Put back what `backup` holds, which `verify` has accepted.

    All of it is loaded beside what is there now, and takes its place when everything is complete.
    """
    folders = {
        kind: place for kind, place in places.folders.items() if (backup / f"{kind}.tar").exists()
    }
    with stopped(places):
        for database in DATABASES:
            load_database(places, database, backup / f"{database}.dump")
        for kind, (shell, path) in folders.items():
            with (backup / f"{kind}.tar").open("rb") as file:
                run([*shell, "-c", LOAD, "sh", path], stdin=file)
        for database in DATABASES:
            sql(places, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            sql(places, f"ALTER DATABASE {database}_restored RENAME TO {database}")
        for shell, path in folders.values():
            run([*shell, "-c", SWAP, "sh", path])


def load_database(places: Places, database: str, dump: Path) -> None:
    """Load a dump into a new database beside the present one."""
    sql(places, f"DROP DATABASE IF EXISTS {database}_restored WITH (FORCE)")
    sql(places, f"CREATE DATABASE {database}_restored OWNER {OWNER} TEMPLATE template0")
    load = ["pg_restore", "--exit-on-error", f"--username={places.user}"]
    with dump.open("rb") as file:
        run([*places.postgres, *load, f"--dbname={database}_restored"], stdin=file)


def verify(backup: Path) -> None:
    """Every file must be there and be what was written."""
    try:
        lines = (backup / SUMS).read_text().splitlines()
    except OSError as error:
        raise BackupError(f"{backup} is no backup: {error}") from None
    sums = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    files = [f"{name}.dump" for name in DATABASES]
    files += [f"{name}.tar" for name in FOLDERS if name not in LATER]
    for name in {*files, *sums}:
        path = backup / name
        if not path.is_file():
            raise BackupError(f"{path} is missing")
        if sums.get(name) != checksum(path):
            raise BackupError(f"{path} is not what was written: its checksum differs")


def backups(folder: Path) -> list[Path]:
    """All that are complete, the oldest first."""
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{SUMS}"))


def record(metric: Path, now: float) -> None:
    """Report the time of the last successful backup to node-exporter."""
    metric.parent.mkdir(exist_ok=True)
    unfinished = metric.with_suffix(".tmp")
    unfinished.write_text(
        f"# HELP {METRIC} When the last backup was complete.\n"
        f"# TYPE {METRIC} gauge\n"
        f"{METRIC} {now:.0f}\n"
    )
    for path, mode in ((metric.parent, 0o755), (unfinished, 0o644)):
        path.chmod(mode)
    unfinished.replace(metric)


def sql(places: Places, statement: str) -> None:
    """Run one statement outside of the databases that are replaced."""
    psql = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname=postgres"]
    run([*places.postgres, *psql, f"--username={places.user}", f"--command={statement}"])


@contextlib.contextmanager
def stopped(places: Places) -> Iterator[None]:
    """Stop the services that use the databases, and start them afterwards."""
    if places.stop:
        run(places.stop)
    try:
        yield
    finally:
        if places.start:
            run(places.start)


def run(
    command: Sequence[str],
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | None = None,
) -> None:
    """Run a command to its end; its messages go where ours go."""
    try:
        code = subprocess.run(command, stdin=stdin, stdout=stdout).returncode
    except OSError as error:
        raise BackupError(f"{command[0]} cannot be run: {error.strerror}") from None
    if code:
        raise BackupError(f"{shlex.join(command[:8])} ... ended with {code}")


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def agreed(backup: Path) -> bool:
    """Whether the user, or YES=1, agrees to lose what is there now."""
    print(f"{backup.name} will replace all models, runs, accounts and labels of this deployment.")
    if os.environ.get("YES") == "1":
        return True
    if not sys.stdin.isatty():
        raise BackupError("nobody can be asked here; YES=1 agrees beforehand")
    return input("Type yes to go on: ").strip() == "yes"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Back up the deployment, or restore it.")
    parser.add_argument("command", choices=["backup", "restore"])
    parser.add_argument("folder", type=Path, help="of all backups")
    parser.add_argument("--from", dest="backup", type=Path, help="one backup; else the newest")
    parser.add_argument("--keep", type=int, help="remove all but that many of the newest")
    parser.add_argument("--user", default="postgres", help="superuser of PostgreSQL")
    for name, what in {
        "postgres": "comes before pg_dump and the like",
        "stop": "ends what uses the data",
        "start": "starts it again",
    }.items():
        parser.add_argument(f"--{name}", type=shlex.split, default=[], help=f"command that {what}")
    for name in FOLDERS:
        parser.add_argument(f"--{name}", nargs=2, required=True, metavar=("SHELL", "PATH"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says; end with 1 and a sentence if it cannot be done."""
    options = parse(arguments)
    folders = {name: getattr(options, name) for name in FOLDERS}
    places = Places(
        options.postgres,
        options.user,
        {name: (shlex.split(shell), path) for name, (shell, path) in folders.items()},
        options.stop,
        options.start,
    )
    try:
        if options.command == "backup":
            print(f"Backed up to {back_up(places, options.folder, options.keep)}.")
            return
        backup = options.backup or next(reversed(backups(options.folder)), None)
        if backup is None:
            raise BackupError(f"there is no backup in {options.folder}")
        verify(backup)
        if not agreed(backup):
            raise BackupError("nothing was changed")
        restore(places, backup)
        print(f"Restored {backup}.")
    except (BackupError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

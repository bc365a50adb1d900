"""Files and folders are replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipelines import files
from pipelines.errors import StorageError
from pipelines.files import is_full, replaced_file, replaced_folder, temporary_folder, write_file
from tests.killing import killed_at_every_step


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    for name in ("first", "second"):
        with replaced_folder(target) as folder:
            (folder / name).write_text(name)

    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_folder_is_there(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "target"
    with replaced_folder(target) as folder:
        (folder / "file").write_text("old")

    def fail() -> None:
        with replaced_folder(target) as folder:
            (folder / "file").write_text("new")
            raise error

    with pytest.raises(error):
        fail()

    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.fixture(params=["in one step", "in two steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the system exchanges two folders: not every one can do it in one step."""
    if request.param == "in two steps":
        monkeypatch.setattr(files, "_rename_function", lambda: None)
    return str(request.param)


def replace_folder(target: Path, content: str) -> None:
    with replaced_folder(target) as folder:
        (folder / "file").write_text(content)
        (folder / "other").write_text(content)


def test_a_kill_at_any_step_leaves_the_old_or_the_new_folder(tmp_path: Path, way: str) -> None:
    target = tmp_path / "target"
    replace_folder(target, "old")
    found = set()

    for _ in killed_at_every_step(tmp_path, lambda: replace_folder(target, "new")):
        if way == "in two steps":
            files.restore(target)
        contents = {path.read_text() for path in target.iterdir()}
        assert len(contents) == 1
        assert len(list(target.iterdir())) == 2
        found |= contents
        replace_folder(target, "old")

    assert found == {"old", "new"}


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_rename_that_fails_keeps_the_old_folder(
    tmp_path: Path, way: str, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    replace_folder(target, "old")
    renamed = []

    def rename(path: Path, to: Path, original=Path.rename) -> Path:  # type: ignore[no-untyped-def]
        renamed.append(to)
        if len(renamed) == failing:
            raise OSError(5, "Input/output error")
        return original(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    if way == "in one step":
        replace_folder(target, "new")  # no rename is needed, so none can fail
    else:
        with pytest.raises(StorageError, match="Input/output error"):
            replace_folder(target, "new")
    monkeypatch.undo()

    content = "old" if way == "in two steps" and failing < 3 else "new"
    assert {path.read_text() for path in target.iterdir()} == {content}


def test_a_file_is_replaced_or_stays_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.json"
    write_file(target, b"old")

    def fail() -> None:
        with replaced_file(target) as fresh:
            fresh.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    for _ in killed_at_every_step(tmp_path, lambda: write_file(target, b"new")):
        assert target.read_bytes() in (b"old", b"new")

    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_device_is_written_to_and_a_long_name_is_possible(tmp_path: Path) -> None:
    write_file(Path(os.devnull), b"content")
    assert not Path(os.devnull).is_file()

    write_file(tmp_path / ("n" * 250 + ".json"), b"content")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"content"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (OSError(13, "Permission denied"), False),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError("IO error: (os error 122)"), True),
        (ValueError("28"), False),
    ],
)
def test_a_full_disk_is_recognised(error: Exception, full: bool) -> None:
    assert is_full(error) is full


def test_leftovers_of_killed_runs_are_removed_when_they_are_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".target-abcd1234", ".target-abcd5678", "x"))
    for folder in (old, young, other):
        folder.mkdir()
    os.utime(old, (0, 0))

    with replaced_folder(tmp_path / "target"):
        pass

    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_leftovers_that_are_gone_by_now_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / ".target-abcd1234"
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([gone]))
    with replaced_folder(tmp_path / "target"):
        pass
    assert (tmp_path / "target").is_dir()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with (
        pytest.raises(StorageError, match="cannot be written"),
        replaced_folder(tmp_path / "file" / "target"),
    ):
        pass


def test_a_full_disk_is_recognised_behind_the_error_of_a_library(tmp_path: Path) -> None:
    def fail() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("cannot be serialized") from error

    with pytest.raises(StorageError, match="set TMPDIR to a folder"), temporary_folder():
        fail()
    with pytest.raises(StorageError, match="what is meant"), temporary_folder():
        raise StorageError("what is meant: No space left")

"""What `--data` stands for: a file, the files of a folder or a glob, here or in a bucket."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Final

import msgspec

from pipelines.batch.stores import Store, is_url
from pipelines.errors import DataError
from pipelines.files import explained, require_room, temporary_folder
from pipelines.tables.reading import has_usual_name
from pipelines.text.showing import in_one_line

_VERSIONS: Final = ("ETag", "etag", "md5Hash", "content_settings", "LastModified", "mtime")
"""What stores call that which changes with a file's content; the first that is there counts."""


class Source(msgspec.Struct, frozen=True):
    """A file of rows.

    Attributes
    ----------
    name : str
        Its path or URL, for messages.
    relative : str
        Its path below the folder that all sources share.
    size : int
        Bytes.
    version : str
        Another one if the content changes.
    """

    name: str
    relative: str
    size: int
    version: str

    @contextmanager
    def local(self) -> Iterator[Path]:
        """The file on this machine; a copy, for the time of the block, of one in a bucket.

        Raises
        ------
        StorageError
            If the store does not answer, or there is no room for the copy.
        """
        if not is_url(self.name):
            yield Path(self.name)
            return
        store = Store(self.name)
        with temporary_folder() as folder:
            require_room(folder, self.size, f"a copy of {in_one_line(self.name)}")
            copy = folder / PurePath(self.relative).name
            with explained(copy):
                store.download(store.path, copy)
            yield copy


def find_sources(data: str) -> list[Source]:
    """The files that `data` stands for, in the order of their names.

    Of a folder, those with a usual end of the name, in folders below it too, and without those
    that begin with a dot or an underscore.

    Parameters
    ----------
    data : str
        Path, glob or URL.

    Raises
    ------
    DataError
        If there is none.
    StorageError
        If the store does not answer.
    """
    return _in_store(data) if is_url(data) else _on_disk(data)


def _on_disk(data: str) -> list[Source]:
    path = Path(data).expanduser()
    if path.is_dir():
        found = [each for each in _walk(path) if _counts(each.relative_to(path))]
        return _sources(data, {str(each): _facts(each) for each in found}, str(path))
    if path.exists() or not glob.has_magic(data):
        facts = _facts(path) if path.is_file() else (0, "")
        return [Source(str(path), path.name, *facts)]
    # Not Path.glob: it cannot take an absolute pattern.
    matches = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
    return _sources(data, {str(each): _facts(each) for each in matches if each.is_file()})


def _in_store(data: str) -> list[Source]:
    store = Store(data)
    found = store.find()
    if set(found) == {store.path} or glob.has_magic(store.path):
        kept = found
    else:
        below = {path: PurePath(os.path.relpath(path, store.path)) for path in found}
        kept = {path: info for path, info in found.items() if _counts(below[path])}
    facts = {
        store.name_of(path): (int(info.get("size") or 0), _version(info))
        for path, info in sorted(kept.items())
    }
    return _sources(data, facts)


def _sources(
    data: str, found: dict[str, tuple[int, str]], folder: str | None = None
) -> list[Source]:
    if not found:
        raise DataError(f"{in_one_line(data)}: there is no file of rows. Check the path.")
    shared = folder or os.path.commonpath([str(PurePath(name).parent) for name in found])
    return [
        Source(name, os.path.relpath(PurePath(name), shared), *facts)
        for name, facts in found.items()
    ]


def _walk(folder: Path) -> Iterable[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())


def _counts(path: PurePath) -> bool:
    """Whether a file is meant by the name of a folder that it is in."""
    return has_usual_name(path.name) and not any(part.startswith((".", "_")) for part in path.parts)


def _facts(path: Path) -> tuple[int, str]:
    status = path.stat()
    return status.st_size, str(status.st_mtime_ns)


def _version(info: dict[str, Any]) -> str:
    return str(next((info[key] for key in _VERSIONS if info.get(key)), ""))

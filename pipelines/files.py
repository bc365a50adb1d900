"""Files and folders that are complete or not there, whatever crashes or fills the disk."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from pipelines.errors import OpinionLensError, StorageError

_ABANDONED_AFTER: Final = 3600.0
"""Seconds after which a temporary file or folder must be that of a run that was killed."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HERE: Final = -100
"""AT_FDCWD of Linux: paths count from the current folder."""
_SWAP: Final = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS."""


@contextmanager
def replaced_file(target: Path) -> Iterator[Path]:
    """Yield a new path whose file takes the place of `target` if the block succeeds.

    The folder is made if it is not there. A device or a FIFO is yielded itself: it is written to,
    not replaced.

    Raises
    ------
    StorageError
        If the disk is full or the file cannot be written.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not (target.is_file() or target.is_dir()):
            yield target
            return
        fresh = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(4)}{target.suffix}")
        try:
            yield fresh
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)


def write_file(target: Path, content: bytes) -> None:
    """Write `target` as a whole; raises a `StorageError` if that fails."""
    with replaced_file(target) as fresh:
        fresh.write_bytes(content)


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield a new empty folder that takes the place of `target` if the block succeeds.

    After an error, an interrupt or a kill, `target` is the old or the new folder.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        restore(target)
        remove_abandoned(target)
        workspace = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fresh = workspace / target.name
        with explained(target):
            fresh.mkdir()
            yield fresh
            exchange(fresh, target)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


@contextmanager
def temporary_folder(prefix: str = "olens-") -> Iterator[Path]:
    """A folder for the time of the block.

    Raises
    ------
    StorageError
        If there is no place for one, or the disk is full.
    """
    where = "TMPDIR"
    try:
        where = tempfile.gettempdir()
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OpinionLensError:
        raise
    except Exception as error:
        if is_full(error):
            raise StorageError(
                f"{where}: the disk is full. Free some space, or set TMPDIR to a folder of another "
                "disk"
            ) from None
        if where != "TMPDIR" or not isinstance(error, OSError):
            raise
        raise StorageError(
            f"No temporary folder can be made: {error.strerror}. Make room there, or set TMPDIR to "
            "another folder"
        ) from None


def exchange(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`; what was there is then called `fresh`.

    Linux and macOS do this in one step. Where the file system cannot, `target` is set aside for a
    moment: a failure puts it back, and after a kill `restore` does.
    """
    if not target.exists():
        fresh.rename(target)
    elif not _swap(fresh, target):
        aside = aside_of(target)
        target.rename(aside)
        try:
            fresh.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        aside.rename(fresh)


def restore(target: Path) -> None:
    """Bring back a `target` that a killed `exchange` had set aside, or delete it if it is old."""
    aside = aside_of(target)
    if aside.exists():
        if target.exists():
            delete(aside)
        else:
            aside.rename(target)


def aside_of(target: Path) -> Path:
    """Where `exchange` keeps the old `target` for a moment if it has to."""
    return target.with_name(f".{target.name}.old")


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    rename = _rename_function()
    if rename is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    arguments = (_HERE, paths[0], _HERE, paths[1]) if sys.platform == "linux" else paths
    if rename(*arguments, _SWAP) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(code, os.strerror(code), str(other))


@cache
def _rename_function() -> Any:
    """The C library's function that exchanges two names; None if it has none."""
    name = {"linux": "renameat2", "darwin": "renamex_np"}.get(sys.platform)
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if name else None


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what a failed write raises into a `StorageError` about `target`."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise StorageError(
                f"{target}: the disk is full. Nothing was changed; free some space and try again."
            ) from None
        if not isinstance(error, OSError):
            raise
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from None


def is_full(error: BaseException) -> bool:
    """Whether the disk was full; Polars and safetensors say it in their text only.

    MLflow raises errors of its own because of such a one.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and not isinstance(error, OpinionLensError) and is_full(cause):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    text = str(error)
    return "No space left" in text or any(f"(os error {code})" in text for code in _FULL)


def megabytes(size: int) -> str:
    """`size` bytes for people to read."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e6:.3f} MB"


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raise a `StorageError` unless the disk of `folder` has room for `needed` bytes of `what`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"The disk of {folder} has too little room: {what} needs {megabytes(needed)}, and "
            f"{megabytes(free)} are free. Free some space, or set paths.models to a folder of "
            "another disk."
        )


def remove_abandoned(target: Path) -> None:
    """Delete what killed runs have left of folders that were to take the place of `target`."""
    for folder in target.parent.glob(f".{target.name}-????????"):
        with suppress(FileNotFoundError):  # in use, and deleted just now
            if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)


def read_small_file(path: Path, limit: int = 1_000_000) -> bytes:
    """The content of a plain file of at most `limit` bytes.

    Raises
    ------
    OSError
        If it is anything else: a folder, a FIFO (which is not waited for), a larger file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EINVAL, f"it has more than {limit:,} bytes", str(path))
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def fingerprint(path: Path) -> tuple[int, str]:
    """Size in bytes and hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def sha256_of(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def write_synced(path: Path, content: bytes) -> None:
    """Write a file; it is on the disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_tree(folder: Path) -> None:
    """`sync` a folder and everything in it."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

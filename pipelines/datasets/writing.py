"""Folders that are there whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipelines.errors import StorageError

_ABANDONED_AFTER: Final = 3600.0
"""Seconds after which a temporary folder must be that of a run that was killed."""
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield a new empty folder that takes the place of `target` if the block succeeds.

    After an error, an interrupt or a kill, `target` is what it was before.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        workspace = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fresh = workspace / target.name
        with explained(target):
            fresh.mkdir()
            yield fresh
            if target.exists():
                target.rename(workspace / "old")
            fresh.rename(target)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what a failed write raises into a `StorageError` about `target`."""
    from polars.exceptions import ComputeError

    try:
        yield
    except (OSError, ComputeError) as error:
        # Polars has no class of its own for a disk that is full.
        if getattr(error, "errno", None) in _FULL or "No space left" in str(error):
            raise StorageError(
                f"{target}: the disk is full. Nothing was changed; free some space and try again."
            ) from None
        if isinstance(error, ComputeError):
            raise
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from None


def _remove_abandoned(target: Path) -> None:
    for folder in target.parent.glob(f".{target.name}-????????"):
        if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
            shutil.rmtree(folder, ignore_errors=True)

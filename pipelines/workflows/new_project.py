"""`olens init`: a project folder, from the files that the package carries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from pipelines.errors import InputError, StorageError

FILES: Final = (
    "conf/settings.toml",
    "conf/params.yaml",
    "conf/.secrets.example.toml",
    ".env.example",
    "dvc.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
)
"""What a project is made of; ``pyproject.toml`` puts them into the wheel."""

_DATA: Final = "data/raw"

_SHIPPED: Final = Path(__file__).with_name("project_files")
_CHECKOUT: Final = Path(__file__).parents[2]
"""Where the same files stand when OpinionLens runs from a checkout."""


class NewProject(msgspec.Struct, frozen=True, kw_only=True):
    """What `init_project` did.

    Attributes
    ----------
    folder
        The project.
    written, kept
        Files by their path inside it: those that are new, and those that were there already.
    """

    folder: Path
    written: list[str]
    kept: list[str]


def init_project(folder: Path) -> NewProject:
    """Make `folder` a project: settings, parameters, the DVC pipeline, and a place for data.

    Nothing that is there is changed.

    Raises
    ------
    InputError
        If `folder` is a file.
    StorageError
        If it cannot be written.
    """
    source = _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the folder of the project")
    kept = [name for name in FILES if (folder / name).exists()]
    written = [name for name in FILES if name not in kept]
    try:
        (folder / _DATA).mkdir(parents=True, exist_ok=True)
        for name in written:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return NewProject(folder=folder, written=written, kept=kept)

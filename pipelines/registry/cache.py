"""The model cache: a folder of downloaded models that a crash cannot corrupt.

Layout::

    models/
        active.json             {"id": "reviews-v3"}: which model answers
        reviews-v3/
            entry.json          what is known about the model, and digests of the files below
            model/              the logged model, byte for byte
            scorer.safetensors  what `prepare` made of it
        .tmp-reviews-v4-1f2e/   an installation that is going on, or was killed
        .locks/                 one file per model and one for `active.json`, locked with flock

A model is put together in a ``.tmp-`` folder and renamed into place, and ``active.json`` is
replaced, so whoever looks sees the state before or after, never between. Locks belong to open
files, so the kernel releases those of a killed process; what it left behind is recognised by its
free lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from pipelines.errors import (
    CorruptModelError,
    InputError,
    ModelError,
    ModelInUseError,
    ModelNotFoundError,
    StorageError,
)
from pipelines.manifest import MANIFEST, FileEntry, Manifest, verify_manifest
from pipelines.registry.versions import RegisteredVersion

ENTRY: Final = "entry.json"
MODEL: Final = "model"
ACTIVE: Final = "active.json"
LOCKS: Final = ".locks"
TEMPORARY: Final = ".tmp-"

_ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*-v\d+")
_LONGEST_ID: Final = 200  # file names have 255 bytes, and temporary ones are longer
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class CachedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the cache.

    Attributes
    ----------
    id
        ``NAME-vVERSION``: a safe file name and URL segment.
    path
        Folder of the entry.
    created, fetched
        When the version was registered and when it was downloaded, in UTC.
    size
        Bytes on disk.
    source
        URI of the registry it came from, without credentials.
    """

    id: str
    name: str
    version: int
    aliases: list[str]
    path: Path
    created: datetime
    fetched: datetime
    size: int
    metrics: dict[str, float]
    tags: dict[str, str]
    source: str


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``entry.json``; `checksum` is the SHA-256 of the rest of it."""

    name: str
    version: int
    aliases: list[str]
    created: datetime
    fetched: datetime
    size: int
    metrics: dict[str, float]
    tags: dict[str, str]
    source: str
    manifest_sha256: str
    added: dict[str, FileEntry]
    checksum: str = ""


class _Active(msgspec.Struct, frozen=True):
    """Content of ``active.json``."""

    id: str


def model_id(name: str, version: int) -> str:
    """The ID of a registered version in the cache.

    Letters, digits and ``_-.`` stay, every other byte is written as ``~XX``, so the ID is one
    path segment and needs no escaping in a URL.

    Raises
    ------
    InputError
        If the name is empty or too long for a file name.
    """
    # A leading dot would make the folder a hidden one, which is what temporary ones are.
    safe = quote(name, safe="").replace("~", "%7E").replace("%", "~")
    safe = re.sub(r"^\.", "~2E", safe)
    made = f"{safe}-v{version}"
    if not name or len(made) > _LONGEST_ID:
        raise InputError(
            f"The model name {name!r} cannot be a folder name: use a name of 1 to about 190 letters"
        )
    return made


class ModelCache:
    """Models on disk, shared by all processes that are given the same folder.

    Parameters
    ----------
    folder : Path
        The cache; it is made when the first model is installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[CachedModel]:
        """The usable models, sorted by name and version. See also `damaged`."""
        found = (self._read(path) for path in self._folders())
        return sorted(
            (model for model in found if isinstance(model, CachedModel)),
            key=lambda model: (model.name, model.version),
        )

    def damaged(self) -> dict[str, str]:
        """IDs of entries that cannot be read, with the reason."""
        found = ((path.name, self._read(path)) for path in self._folders())
        return {name: str(why) for name, why in found if isinstance(why, ModelError)}

    def get(self, id: str) -> CachedModel:  # noqa: A002
        """The model called `id`.

        Raises
        ------
        ModelNotFoundError
            If the cache has no such model.
        CorruptModelError
            If its ``entry.json`` cannot be used.
        """
        path = self._path(id)
        return _describe(path, _read_entry(path))

    def active(self) -> CachedModel | None:
        """The model that answers; None if there is none (`active_problem` says why)."""
        try:
            return self.get(self._read_active())
        except ModelError:
            return None

    def active_problem(self) -> str | None:
        """Why `active` is None, as a message for the operator; None if it is not."""
        try:
            self.get(self._read_active())
        except ModelError as error:
            return str(error)
        return None

    def active_stamp(self) -> tuple[int, int, int] | None:
        """A value that changes whenever `activate` was called, for one `stat`; None: never was."""
        try:
            found = (self.folder / ACTIVE).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def install(
        self,
        version: RegisteredVersion,
        download: Callable[[Path], None],
        prepare: Callable[[Path], None],
    ) -> CachedModel:
        """Put `version` into the cache, unless it is there.

        A caller that comes while another process or thread installs the same version waits for it
        and gets its model. An entry that is damaged, or holds other files than those that are
        registered, is replaced.

        Parameters
        ----------
        version : RegisteredVersion
            What to install.
        download : callable
            Fills the empty folder that it is given with the files of the logged model.
        prepare : callable
            Adds files to the entry (the folder that holds ``model/``), after the check.

        Raises
        ------
        CorruptModelError
            If what was downloaded is not what the manifest lists.
        StorageError
            If the disk is full or the cache cannot be written.
        """
        id_ = model_id(version.name, version.version)
        with self._writing(), self._lock(id_):
            self._remove_leftovers(id_)
            if (cached := self._usable(id_, version)) is not None:
                return self._refresh(id_, cached, version)
            temporary = self._temporary(id_)
            try:
                self._fill(temporary, version, download, prepare)
                self._move_into_place(temporary, id_)
            except Exception as error:
                if _is_full(error):
                    raise self._full(version, temporary) from error
                raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return self.get(id_)

    def activate(self, id: str) -> CachedModel:  # noqa: A002
        """Check the files of the model called `id` and let it answer from now on.

        Raises
        ------
        ModelNotFoundError
            If the cache has no such model.
        CorruptModelError
            If a file is not what was installed; the active model stays.
        """
        self._path(id)
        with self._writing(), self._lock(ACTIVE):
            model = self.verify(id)
            self._write_active(id)
        return model

    def remove(self, id: str) -> None:  # noqa: A002
        """Delete the model called `id`.

        Raises
        ------
        ModelInUseError
            If it is the active one.
        ModelNotFoundError
            If the cache has no such model.
        """
        self._path(id)
        with self._writing(), self._lock(id), self._lock(ACTIVE):
            path = self._path(id)
            if self._active_id() == id:
                raise ModelInUseError(
                    f"{id} is the active model. Activate another one first: "
                    "olens models activate ID"
                )
            self._discard(path)

    def verify(self, id: str) -> CachedModel:  # noqa: A002
        """Compare the size and SHA-256 of every file of the model called `id`.

        Raises
        ------
        CorruptModelError
            Naming the first file that differs and how to repair it.
        """
        path = self._path(id)
        try:
            entry = _read_entry(path)
            verify_manifest(path / MODEL, entry.manifest_sha256)
            if (found := _added_files(path)) != entry.added:
                differing = {*found.items()} ^ {*entry.added.items()}
                raise CorruptModelError(f"the file {min(name for name, _ in differing)} differs")
        except CorruptModelError as error:
            raise CorruptModelError(f"{id} is damaged: {error}. {_REPAIR}") from None
        except OSError as error:
            raise CorruptModelError(f"{id} cannot be read: {error}. {_REPAIR}") from None
        return _describe(path, entry)

    # Reading

    def _folders(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (p for p in self.folder.iterdir() if _ID.fullmatch(p.name) and p.is_dir())

    def _path(self, id: str) -> Path:  # noqa: A002
        if not _ID.fullmatch(id) or not (self.folder / id).is_dir():
            there = ", ".join(sorted(path.name for path in self._folders()))
            raise ModelNotFoundError(
                f"There is no model {id!r} in {self.folder}. "
                + (f"There are: {there}" if there else "It is empty: olens fetch NAME")
            )
        return self.folder / id

    def _read(self, path: Path) -> CachedModel | ModelError:
        try:
            return _describe(path, _read_entry(path))
        except ModelError as error:
            return error

    def _read_active(self) -> str:
        path = self.folder / ACTIVE
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Active).id
        except FileNotFoundError:
            raise ModelNotFoundError(f"No model is active in {self.folder}. {_ACTIVATE}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise CorruptModelError(f"{path} cannot be read ({error}). {_ACTIVATE}") from None

    def _active_id(self) -> str | None:
        try:
            return self._read_active()
        except ModelError:
            return None

    # Installing; the caller holds the lock of the model

    def _usable(self, id_: str, version: RegisteredVersion) -> _Entry | None:
        try:
            self.verify(id_)
        except ModelError:
            return None
        entry = _read_entry(self.folder / id_)
        return entry if version.manifest_sha256 in (None, entry.manifest_sha256) else None

    def _refresh(self, id_: str, entry: _Entry, version: RegisteredVersion) -> CachedModel:
        """Take over what can change about a version that stays the same: aliases, tags, source."""
        known = {
            "aliases": sorted(version.aliases),
            "tags": version.tags,
            "metrics": version.metrics,
            "created": version.created,
            "source": version.source,
        }
        path = self.folder / id_
        if (fresh := msgspec.structs.replace(entry, **known, checksum=entry.checksum)) != entry:
            temporary = self.folder / f"{TEMPORARY}{id_}-{secrets.token_hex(4)}"
            _write(temporary, _encode_entry(fresh))
            temporary.replace(path / ENTRY)
        return _describe(path, fresh)

    def _temporary(self, id_: str) -> Path:
        return self.folder / f"{TEMPORARY}{id_}-{secrets.token_hex(4)}"

    def _fill(
        self,
        temporary: Path,
        version: RegisteredVersion,
        download: Callable[[Path], None],
        prepare: Callable[[Path], None],
    ) -> None:
        model = temporary / MODEL
        model.mkdir(parents=True)
        download(model)
        _check_download(model, version)
        prepare(temporary)
        sizes = (path.stat().st_size for path in temporary.rglob("*") if path.is_file())
        entry = _Entry(
            name=version.name,
            version=version.version,
            aliases=sorted(version.aliases),
            created=version.created,
            fetched=datetime.now(UTC),
            size=sum(sizes),
            metrics=version.metrics,
            tags=version.tags,
            source=version.source,
            manifest_sha256=hashlib.sha256((model / MANIFEST).read_bytes()).hexdigest(),
            added=_added_files(temporary),
        )
        (temporary / ENTRY).write_bytes(_encode_entry(entry))
        _sync_tree(temporary)

    def _move_into_place(self, temporary: Path, id_: str) -> None:
        target = self.folder / id_
        with self._lock(ACTIVE):
            if target.exists():
                self._discard(target)
            temporary.rename(target)
            _sync(self.folder)
            if self._active_id() == id_:
                self._write_active(id_)  # the stamp tells the servers to load it again

    def _discard(self, path: Path) -> None:
        """Take an entry out of sight at once, then delete it."""
        temporary = self._temporary(path.name)
        path.rename(temporary)
        _sync(self.folder)
        shutil.rmtree(temporary, ignore_errors=True)

    def _remove_leftovers(self, own: str) -> None:
        """Delete what killed processes left behind: temporary files whose lock is free."""
        for path in self.folder.glob(f"{TEMPORARY}*"):
            id_ = path.name.removeprefix(TEMPORARY).rpartition("-")[0]
            if id_ == own:
                _delete(path)
            elif _ID.fullmatch(id_):
                with self._try_lock(id_) as free:
                    if free:
                        _delete(path)

    def _write_active(self, id_: str) -> None:
        # The lock makes this the only writer, so the name can be a fixed one.
        temporary = self.folder / f"{TEMPORARY}{ACTIVE}"
        _write(temporary, msgspec.json.encode(_Active(id_)))
        now = time.time_ns()
        os.utime(temporary, ns=(now, now))  # the kernel's own stamp is only exact to its tick
        temporary.replace(self.folder / ACTIVE)
        _sync(self.folder)

    def _full(self, version: RegisteredVersion, temporary: Path) -> StorageError:
        free = shutil.disk_usage(self.folder).free
        written = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
        needed = max(written, _listed_size(temporary / MODEL))
        return StorageError(
            f"The disk of {self.folder} is full: version {version.version} of {version.name} "
            f"needs more than {megabytes(needed)}, and {megabytes(free + written)} are free. "
            "Make room, or set paths.models to a folder of another disk"
        )

    # Locks

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make the cache's folders; say plainly when the disk refuses."""
        try:
            (self.folder / LOCKS).mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            if _is_full(error):
                raise StorageError(
                    f"The disk of {self.folder} is full. Make room, or set paths.models to a "
                    "folder of another disk"
                ) from error
            if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
                raise StorageError(f"The model cache cannot be written: {error}") from error
            raise

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self.folder / LOCKS / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _try_lock(self, name: str) -> Iterator[bool]:
        with (self.folder / LOCKS / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


_REPAIR: Final = "Remove it (olens models remove ID) or fetch it again (olens fetch NAME)"
_ACTIVATE: Final = "Activate one: olens models activate ID"


def megabytes(size: int) -> str:
    """`size` bytes for people to read."""
    return f"{size / 1e6:,.1f} MB"


def _check_download(model: Path, version: RegisteredVersion) -> None:
    try:
        verify_manifest(model, version.manifest_sha256)
    except CorruptModelError as error:
        raise CorruptModelError(
            f"Version {version.version} of {version.name} was not installed: what "
            f"{version.source} sent is not what was registered ({error}). Register it again"
        ) from None


def _is_full(error: Exception) -> bool:
    """Whether the disk was full; safetensors says it in its text only."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    return any(f"(os error {code})" in str(error) for code in _NO_SPACE)


def _describe(path: Path, entry: _Entry) -> CachedModel:
    return CachedModel(
        id=path.name,
        name=entry.name,
        version=entry.version,
        aliases=entry.aliases,
        path=path,
        created=entry.created,
        fetched=entry.fetched,
        size=entry.size,
        metrics=entry.metrics,
        tags=entry.tags,
        source=entry.source,
    )


def _read_entry(path: Path) -> _Entry:
    try:
        encoded = (path / ENTRY).read_bytes()
        entry = msgspec.json.decode(encoded, type=_Entry)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptModelError(f"{path.name}: {ENTRY} cannot be used: {error}") from None
    if _checksum(entry) != entry.checksum:
        raise CorruptModelError(f"{path.name}: {ENTRY} was changed")
    if model_id(entry.name, entry.version) != path.name:
        raise CorruptModelError(f"{path.name}: {ENTRY} belongs to another model")
    return entry


def _encode_entry(entry: _Entry) -> bytes:
    signed = msgspec.structs.replace(entry, checksum=_checksum(entry))
    return msgspec.json.format(msgspec.json.encode(signed), indent=2)


def _checksum(entry: _Entry) -> str:
    unsigned = msgspec.structs.replace(entry, checksum="")
    return hashlib.sha256(msgspec.json.encode(unsigned, order="sorted")).hexdigest()


def _added_files(entry: Path) -> dict[str, FileEntry]:
    """Size and SHA-256 of the files of an entry outside ``model/``."""
    added = {}
    for path in sorted(entry.rglob("*")):
        name = path.relative_to(entry).as_posix()
        if path.is_file() and name != ENTRY and not name.startswith(f"{MODEL}/"):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            added[name] = FileEntry(path.stat().st_size, digest)
    return added


def _listed_size(model: Path) -> int:
    """Bytes of the files that the manifest lists; 0 if it has not been downloaded."""
    try:
        manifest = msgspec.json.decode((model / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return 0
    return sum(entry.size for entry in manifest.files.values())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

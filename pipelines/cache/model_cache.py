"""The model cache: a folder of downloaded models that a crash cannot corrupt.

Layout::

    models/
        active.json             {"id": "reviews-v3", "before": "reviews-v2"}: which model answers,
                                and which one did; null: none of these
        reviews-v3/
            entry.json          what is known about the model, and digests of the files below
            model/              the logged model, byte for byte
            scorer.safetensors  what `prepare` made of it
        .tmp-reviews-v4-1f2e/   an installation that is going on, or was killed
        .locks/                 one file per model and one for `active.json`, locked with flock

A model is put together in a ``.tmp-`` folder and exchanged with the old entry in one step, and
``active.json`` is replaced, so readers see the state before or after a change, never between. Locks
belong to open files, so the kernel releases those of a killed process; what it left behind is
recognised by its free lock.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from pipelines.cache.active import (
    ACTIVE,
    active_stamp,
    read_active,
    read_before,
    write_active,
)
from pipelines.cache.entries import (
    ENTRY,
    ID,
    LONGEST_ID,
    MODEL,
    CachedModel,
    Entry,
    added_files,
    check_answering,
    encode_entry,
    make_entry,
    model_id,
    read_entry,
    refresh_entry,
)
from pipelines.cache.locks import Locks
from pipelines.errors import (
    CorruptModelError,
    ModelError,
    ModelInUseError,
    ModelNotFoundError,
    StorageError,
)
from pipelines.files import (
    aside_of,
    delete,
    exchange,
    is_full,
    megabytes,
    restore,
    sync,
    sync_tree,
    write_synced,
)
from pipelines.registry.manifest import MANIFEST, Manifest, verify_manifest
from pipelines.registry.versions import RegisteredVersion

LOCKS: Final = ".locks"
TEMPORARY: Final = ".tmp-"
_REPAIR: Final = "Remove it (olens models remove ID) or fetch it again (olens fetch NAME)"


class ModelCache:
    """Models on disk, shared by all processes that are given the same folder.

    Parameters
    ----------
    folder : Path
        The cache; it is made when the first model is installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks = Locks(folder / LOCKS)

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
            If its ``entry.json`` cannot be used, or a file that answers come from was changed (a
        quick check of size and CRC-32; `verify` compares everything).
        """
        return self._checked(self._path(id))

    def active(self) -> CachedModel | None:
        """The model that answers; None if there is none (`active_problem` says why)."""
        id_ = self.active_id()
        try:
            return None if id_ is None else self.get(id_)
        except ModelError:
            return None

    def active_id(self) -> str | None:
        """The ID of the active model; None if there is none, or it cannot be read."""
        try:
            return read_active(self.folder)
        except ModelError:
            return None

    def active_problem(self) -> str | None:
        """Why `active` is None, as a message for the operator; None if it is not."""
        try:
            if (id_ := read_active(self.folder)) is None:
                return (
                    f"No model is active in {self.folder}. Activate one: olens models activate ID"
                )
            self.get(id_)
        except ModelError as error:
            return str(error)
        return None

    def id_before(self) -> str | msgspec.UnsetType | None:
        """ID of the model that was active before the active one; see `read_before`."""
        return read_before(self.folder)

    def is_inactive(self) -> bool:
        """Whether no model was ever activated, or the last one was deactivated."""
        try:
            return read_active(self.folder) is None
        except ModelError:
            return False

    def active_stamp(self) -> tuple[int, int, int] | None:
        """A value that changes with every `activate` and `deactivate`, for one `stat`.

        None: there is no ``active.json``.
        """
        return active_stamp(self.folder)

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
        with self._writing(), self._locks.hold(id_):
            restore(self.folder / id_)
            self._remove_leftovers(id_)
            if (cached := self._usable(id_, version)) is not None:
                return self._refresh(id_, cached, version)
            temporary = self._temporary(id_)
            try:
                self._fill(temporary, version, download, prepare)
                self._move_into_place(temporary, id_)
            except Exception as error:
                if is_full(error):
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
        with self._writing(), self._locks.hold(ACTIVE):
            model = self.verify(id)
            self._write_active(id)
        return model

    def deactivate(self, instead: str | None = None) -> None:
        """Let no model of the cache answer, but the one of the package that is called `instead`."""
        with self._writing(), self._locks.hold(ACTIVE):
            self._write_active(instead)

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
        with self._writing(), self._locks.hold(id), self._locks.hold(ACTIVE):
            path = self._path(id)
            if self.active_id() == id:
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
        with _repairable(id):
            entry = read_entry(path)
            verify_manifest(path / MODEL, entry.manifest_sha256)
            if (found := added_files(path)) != entry.added:
                differing = {*found.items()} ^ {*entry.added.items()}
                raise CorruptModelError(f"the file {min(name for name, _ in differing)} differs")
        return entry.describe(path)

    # Reading

    def _checked(self, path: Path) -> CachedModel:
        with _repairable(path.name):
            entry = read_entry(path)
            check_answering(path, entry)
        return entry.describe(path)

    def _folders(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (p for p in self.folder.iterdir() if ID.fullmatch(p.name) and p.is_dir())

    def _path(self, id: str) -> Path:  # noqa: A002
        if ID.fullmatch(id) and len(id) <= LONGEST_ID:
            path = self.folder / id
            if path.is_dir() or self._restored(path):
                return path
        there = ", ".join(sorted(path.name for path in self._folders())[:20])
        raise ModelNotFoundError(
            f"There is no model {id[:80]!r} in {self.folder}. "
            + (f"There are: {there}" if there else "It is empty: olens fetch NAME")
        )

    def _restored(self, path: Path) -> bool:
        """Bring back an entry that a kill left aside, if nobody is replacing it just now."""
        if not aside_of(path).exists():
            return False
        with self._locks.try_to_hold(path.name) as free:
            if free:
                restore(path)
        return path.is_dir()

    def _read(self, path: Path) -> CachedModel | ModelError:
        try:
            return self._checked(path)
        except ModelError as error:
            return error

    # Installing; the caller holds the lock of the model

    def _usable(self, id_: str, version: RegisteredVersion) -> Entry | None:
        try:
            self.verify(id_)
        except ModelError:
            return None
        entry = read_entry(self.folder / id_)
        return entry if version.manifest_sha256 in (None, entry.manifest_sha256) else None

    def _refresh(self, id_: str, entry: Entry, version: RegisteredVersion) -> CachedModel:
        path = self.folder / id_
        if (fresh := refresh_entry(entry, version)) != entry:
            temporary = self._temporary(id_)
            write_synced(temporary, encode_entry(fresh))
            temporary.replace(path / ENTRY)
        return fresh.describe(path)

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
        (temporary / ENTRY).write_bytes(encode_entry(make_entry(version, temporary)))
        sync_tree(temporary)

    def _move_into_place(self, temporary: Path, id_: str) -> None:
        target = self.folder / id_
        with self._locks.hold(ACTIVE):
            exchange(temporary, target)
            sync(self.folder)
            if self.active_id() == id_:
                self._write_active(id_)  # the stamp tells the servers to load it again

    def _discard(self, path: Path) -> None:
        """Take an entry out of sight at once, then delete it."""
        temporary = self._temporary(path.name)
        path.rename(temporary)
        sync(self.folder)
        shutil.rmtree(temporary, ignore_errors=True)

    def _remove_leftovers(self, own: str) -> None:
        """Delete what killed processes left behind: temporary files whose lock is free."""
        for path in self.folder.glob(f"{TEMPORARY}*"):
            id_ = path.name.removeprefix(TEMPORARY).rpartition("-")[0]
            if id_ == own:
                delete(path)
            elif ID.fullmatch(id_):
                with self._locks.try_to_hold(id_) as free:
                    if free:
                        delete(path)

    def _write_active(self, id_: str | None) -> None:
        # The lock makes this the only writer, so the name can be a fixed one.
        write_active(self.folder, id_, self.folder / f"{TEMPORARY}{ACTIVE}")

    def _full(self, version: RegisteredVersion, temporary: Path) -> StorageError:
        """Name both disks that are written to: the error does not say which one is full."""
        written = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
        needed = max(written, _listed_size(temporary / MODEL))
        free = shutil.disk_usage(self.folder).free + written
        other = Path(tempfile.gettempdir())
        return StorageError(
            f"The disk is full: version {version.version} of {version.name} needs more than "
            f"{megabytes(needed)}, and {megabytes(free)} are free in {self.folder}, "
            f"{megabytes(shutil.disk_usage(other).free)} in {other}. Free some space, or set "
            "paths.models or TMPDIR to a folder of another disk"
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make the cache's folders; say plainly when the disk refuses."""
        try:
            (self.folder / LOCKS).mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            if is_full(error):
                raise StorageError(
                    f"The disk of {self.folder} is full. Free some space, or set paths.models to "
                    "a folder of another disk"
                ) from error
            if error.errno is None or isinstance(error, ConnectionError | TimeoutError):
                raise  # of the network; those of `requests` have no number
            raise StorageError(f"The model cache cannot be written: {error}") from error


@contextmanager
def _repairable(id_: str) -> Iterator[None]:
    """Say how to repair the entry `id_` if it is damaged or cannot be read."""
    try:
        yield
    except (CorruptModelError, OSError) as error:
        raise CorruptModelError(f"{id_} is damaged: {error}. {_REPAIR}") from None


def _check_download(model: Path, version: RegisteredVersion) -> None:
    try:
        verify_manifest(model, version.manifest_sha256)
    except CorruptModelError as error:
        raise CorruptModelError(
            f"Version {version.version} of {version.name} was not installed: what "
            f"{version.source} sent is not what was registered ({error}). Register it again"
        ) from None


def _listed_size(model: Path) -> int:
    """Bytes of the files that the manifest lists; 0 if it has not been downloaded."""
    try:
        manifest = msgspec.json.decode((model / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return 0
    return sum(entry.size for entry in manifest.files.values())

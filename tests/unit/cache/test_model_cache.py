"""The model cache: what it promises when all goes well and when it does not."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from pipelines import files
from pipelines.cache import active as active_module
from pipelines.cache import model_cache as cache_module
from pipelines.cache.entries import encode_entry, model_id, read_entry
from pipelines.cache.model_cache import ModelCache
from pipelines.errors import (
    CorruptModelError,
    InputError,
    ModelInUseError,
    ModelNotFoundError,
    StorageError,
)
from pipelines.registry.manifest import MANIFEST_TAG
from pipelines.registry.versions import RegisteredVersion
from tests.killing import killed_at_every_step
from tests.support import PATIENCE
from tests.unit.cache.conftest import FILES, download, prepare, write_model

Registered = Callable[..., RegisteredVersion]


def forbidden(folder: Path) -> None:
    raise AssertionError("nothing should be downloaded")


def visible(cache: ModelCache) -> list[str]:
    """What the cache folder holds, apart from the locks."""
    return sorted(path.name for path in cache.folder.iterdir() if path.name != ".locks")


class Killed(BaseException):
    """Stands for anything that ends a process, even what `except Exception` does not see."""


# Installing


def test_an_installed_model_is_the_registered_one(cache: ModelCache, registered: Registered):
    model = cache.install(registered(), download, prepare)

    assert model.id == "reviews-v1"
    assert (model.name, model.version, model.aliases) == ("reviews", 1, ["champion"])
    assert model.metrics == {"accuracy": 0.9}
    assert model.source == "http://registry.example"
    assert model.fetched.tzinfo == UTC
    for name, content in FILES.items():
        assert (model.path / "model" / name).read_bytes() == content
    files = [path for path in model.path.rglob("*") if path.is_file()]
    assert model.size == sum(p.stat().st_size for p in files if p.name != "entry.json")
    assert visible(cache) == ["reviews-v1"]
    assert cache.list() == [model]
    assert cache.get(model.id) == cache.verify(model.id) == model


def test_a_cached_model_is_not_downloaded_again(cache: ModelCache, registered: Registered):
    first = cache.install(registered(), download, prepare)
    moved = registered(aliases=["old", "best"], tags=registered().tags | {"note": "x"})

    again = cache.install(moved, forbidden, forbidden)

    assert again.aliases == ["best", "old"]
    assert again.tags["note"] == "x"
    assert again.fetched == first.fetched
    assert cache.verify(first.id) == again
    assert visible(cache) == ["reviews-v1"]


def test_models_are_listed_by_name_and_number(cache: ModelCache, registered: Registered):
    for name, version in [("b", 10), ("b", 9), ("a", 1)]:
        cache.install(registered(name, version), download, prepare)

    assert [model.id for model in cache.list()] == ["a-v1", "b-v9", "b-v10"]


def test_an_empty_cache_has_nothing(cache: ModelCache):
    assert cache.list() == []
    assert cache.damaged() == {}
    assert cache.active() is None
    assert cache.active_stamp() is None
    with pytest.raises(ModelNotFoundError, match="olens fetch"):
        cache.get("reviews-v1")
    assert not cache.folder.exists()


def test_a_download_that_is_not_what_was_registered_is_refused(
    cache: ModelCache, registered: Registered
):
    def other(folder: Path) -> None:
        write_model(folder, FILES | {"model.skops": b"other"})

    with pytest.raises(CorruptModelError, match=r"not the one that was registered.*Register it"):
        cache.install(registered(), other, prepare)
    assert visible(cache) == []


@pytest.mark.parametrize("damage", ["missing", "changed", "added", "unlisted"])
def test_an_incomplete_download_is_refused(cache: ModelCache, registered: Registered, damage: str):
    def broken(folder: Path) -> None:
        download(folder)
        if damage == "missing":
            (folder / "model.skops").unlink()
        elif damage == "changed":
            (folder / "model.skops").write_bytes(bytes(len(FILES["model.skops"])))
        elif damage == "added":
            (folder / "extra.py").write_text("print()")
        else:
            (folder / "manifest.json").unlink()

    with pytest.raises(CorruptModelError, match="Version 1 of reviews was not installed"):
        cache.install(registered(), broken, prepare)
    assert visible(cache) == []


def test_another_model_under_a_cached_name_replaces_it(cache: ModelCache, registered: Registered):
    """A new registry counts from 1 again: version 1 there is not version 1 here."""
    cache.install(registered(), download, prepare)
    cache.activate("reviews-v1")
    stamp = cache.active_stamp()

    def other(folder: Path) -> None:
        write_model(folder, FILES | {"model.skops": b"other"})

    model = cache.install(registered(tags={}, source="http://b"), forbidden, forbidden)
    assert model.source == "http://b"  # nothing is known of its files, so they are taken as equal

    tags = {
        "olens.manifest_sha256": write_model(cache.folder / "x", FILES | {"model.skops": b"other"})
    }
    model = cache.install(registered(tags=tags), other, prepare)
    assert (model.path / "model/model.skops").read_bytes() == b"other"
    assert cache.active() == model
    assert cache.active_stamp() != stamp


# Crashes


@pytest.mark.parametrize("failure", [Killed(), KeyboardInterrupt(), RuntimeError("lost")])
@pytest.mark.parametrize("step", ["download", "prepare", "encode_entry", "sync_tree", "rename"])
def test_a_failure_at_any_step_leaves_nothing(
    cache: ModelCache,
    registered: Registered,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: BaseException,
):
    def fail(*_: object) -> None:
        raise failure

    def half(folder: Path) -> None:
        (folder / "model.skops").write_bytes(b"half")
        raise failure

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr(Path, "rename", fail)
        elif step in ("encode_entry", "sync_tree"):
            patch.setattr(cache_module, step, fail)
        with pytest.raises(type(failure)):
            cache.install(
                registered(),
                half if step == "download" else download,
                half if step == "prepare" else prepare,
            )

    assert visible(cache) == []
    assert cache.install(registered(), download, prepare).id == "reviews-v1"


@pytest.mark.parametrize("step", ["write_synced", "replace"])
def test_a_failed_activation_keeps_the_active_model(
    cache: ModelCache, registered: Registered, monkeypatch: pytest.MonkeyPatch, step: str
):
    for version in (1, 2):
        cache.install(registered(version=version), download, prepare)
    cache.activate("reviews-v1")

    def fail(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, step) if step == "replace" else (active_module, step)), fail)
        with pytest.raises(Killed):
            cache.activate("reviews-v2")

    active = cache.active()
    assert active is not None
    assert active.id == "reviews-v1"
    assert cache.activate("reviews-v2") == cache.active()


@pytest.mark.parametrize("way", ["in one step", "in two steps"])
def test_a_kill_at_any_step_of_a_replacement_leaves_a_model(
    cache: ModelCache, registered: Registered, monkeypatch: pytest.MonkeyPatch, way: str
):
    """There is an active model at every moment: the old one or the new one, complete."""
    if way == "in two steps":
        monkeypatch.setattr(files, "_rename_function", lambda: None)
    changed = FILES | {"model.skops": b"changed"}
    digest = write_model(cache.folder.parent / "other", changed)
    new = registered(tags={MANIFEST_TAG: digest})

    def install_and_activate() -> None:
        cache.install(new, lambda folder: write_model(folder, changed) and None, prepare)
        cache.activate("reviews-v1")

    cache.activate(cache.install(registered(), download, prepare).id)
    found = set()
    for _ in killed_at_every_step(cache.folder, install_and_activate):
        active = cache.active()
        assert active is not None
        assert cache.verify("reviews-v1") == active
        found.add(read_entry(active.path).manifest_sha256)
        cache.install(registered(), download, prepare)
    assert found == {digest, registered().manifest_sha256}


def test_leftovers_of_killed_installs_are_removed(cache: ModelCache, registered: Registered):
    cache.install(registered(version=2), download, prepare)
    for name in (".tmp-reviews-v1-0a1b", ".tmp-other-v7-99ff"):
        (cache.folder / name / "model").mkdir(parents=True)
        (cache.folder / name / "model/model.skops").write_bytes(b"half")
    (cache.folder / ".tmp-reviews-v2-77aa").write_bytes(b"half an entry.json")

    cache.install(registered(), download, prepare)

    assert visible(cache) == ["reviews-v1", "reviews-v2"]


def test_an_install_that_is_going_on_is_not_a_leftover(cache: ModelCache, registered: Registered):
    started, go_on = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        started.set()
        assert go_on.wait(PATIENCE)
        download(folder)

    thread = threading.Thread(
        target=cache.install, args=(registered("slow"), slow, prepare), daemon=True
    )
    thread.start()
    assert started.wait(PATIENCE)
    cache.install(registered("quick"), download, prepare)
    assert any(name.startswith(".tmp-slow-v1-") for name in visible(cache))
    go_on.set()
    thread.join(PATIENCE)

    assert visible(cache) == ["quick-v1", "slow-v1"]


def test_threads_that_want_the_same_model_share_one_download(
    cache: ModelCache, registered: Registered
):
    downloads = []
    barrier = threading.Barrier(4)
    models = []

    def counted(folder: Path) -> None:
        downloads.append(folder)
        download(folder)

    def install() -> None:
        barrier.wait(PATIENCE)
        models.append(cache.install(registered(), counted, prepare))

    threads = [threading.Thread(target=install, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(downloads) == 1
    assert [model.id for model in models] == ["reviews-v1"] * 4


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors says it
    ],
)
@pytest.mark.parametrize("step", ["download", "prepare"])
def test_a_full_disk_says_what_is_needed(
    cache: ModelCache, registered: Registered, error: Exception, step: str
):
    def full(_: Path) -> None:
        raise error

    with pytest.raises(StorageError, match=r"needs more than .* MB, and .* MB are free"):
        cache.install(
            registered(),
            full if step == "download" else download,
            full if step == "prepare" else prepare,
        )
    assert visible(cache) == []


def test_a_cache_that_cannot_be_made_is_a_storage_error(tmp_path: Path, registered: Registered):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot be written"):
        ModelCache(tmp_path / "file" / "models").install(registered(), download, prepare)


# Damage


@pytest.mark.parametrize(
    "name",
    [
        "entry.json",
        "scorer.safetensors",
        "model/model.skops",
        "model/manifest.json",
        "model/MLmodel",
    ],
)
def test_one_flipped_bit_anywhere_is_found(cache: ModelCache, registered: Registered, name: str):
    for version in (1, 2):
        cache.install(registered(version=version), download, prepare)
    cache.activate("reviews-v1")
    path = cache.folder / "reviews-v2" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(CorruptModelError, match=r"reviews-v2 is damaged.*olens fetch"):
        cache.activate("reviews-v2")
    active = cache.active()
    assert active is not None
    assert active.id == "reviews-v1"

    repaired = cache.install(registered(version=2), download, prepare)
    assert cache.activate("reviews-v2") == repaired


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("damage", ["flipped", "shorter", "gone", "a folder", "a FIFO"])
def test_damage_to_what_answers_is_found_without_a_full_check(
    cache: ModelCache, registered: Registered, linear: bool, damage: str
):
    model = cache.install(registered(), download, prepare if linear else lambda entry: None)
    cache.activate(model.id)
    weights = model.path / ("scorer.safetensors" if linear else "model/model.skops")
    if damage == "flipped":
        flip_a_bit(weights)
    elif damage == "shorter":
        weights.write_bytes(weights.read_bytes()[:-1])
    else:
        weights.unlink()
        if damage == "a folder":
            weights.mkdir()
        elif damage == "a FIFO":
            os.mkfifo(weights)

    with pytest.raises(CorruptModelError, match=r"reviews-v1 is damaged: .*olens fetch"):
        cache.get(model.id)
    assert cache.list() == []
    assert "is damaged" in cache.damaged()[model.id]
    assert cache.active() is None
    assert "is damaged" in str(cache.active_problem())


def test_entries_of_earlier_versions_are_read(cache: ModelCache, registered: Registered):
    model = cache.install(registered(), download, prepare)
    entry = msgspec.structs.replace(read_entry(model.path), answering=msgspec.UNSET)
    (model.path / "entry.json").write_bytes(encode_entry(entry))
    assert b"answering" not in (model.path / "entry.json").read_bytes()

    assert cache.get(model.id) == cache.verify(model.id) == model


@pytest.mark.parametrize("name", ["scorer.safetensors", "model/model.skops", "entry.json"])
def test_a_missing_file_is_found(cache: ModelCache, registered: Registered, name: str):
    model = cache.install(registered(), download, prepare)
    (model.path / name).unlink()

    with pytest.raises(CorruptModelError, match="reviews-v1 is damaged"):
        cache.verify(model.id)


def test_an_added_file_is_found(cache: ModelCache, registered: Registered):
    model = cache.install(registered(), download, prepare)
    (model.path / "model.pkl").write_bytes(b"")

    with pytest.raises(CorruptModelError, match=r"model\.pkl"):
        cache.verify(model.id)


def test_an_unreadable_entry_is_reported_and_can_be_removed(
    cache: ModelCache, registered: Registered
):
    model = cache.install(registered(), download, prepare)
    (model.path / "entry.json").write_bytes(b"{")

    assert cache.list() == []
    assert list(cache.damaged()) == ["reviews-v1"]
    cache.remove("reviews-v1")
    assert cache.damaged() == {}


def test_an_entry_under_another_name_is_damaged(cache: ModelCache, registered: Registered):
    model = cache.install(registered(), download, prepare)
    model.path.rename(cache.folder / "reviews-v2")

    with pytest.raises(CorruptModelError, match="another model"):
        cache.get("reviews-v2")


# The active model


def test_activating_is_seen_and_stamped(cache: ModelCache, registered: Registered):
    for version in (1, 2):
        cache.install(registered(version=version), download, prepare)
    stamps = {cache.active_stamp()}
    for id_ in ("reviews-v1", "reviews-v2", "reviews-v1", "reviews-v1"):
        assert cache.activate(id_) == cache.active()
        stamps.add(cache.active_stamp())

    assert len(stamps) == 5
    assert cache.active_problem() is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"{}", "cannot be read"),
        (b"\xff\x00", "cannot be read"),
        (b'{"id": 3}', "cannot be read"),
        (b'{"id": "gone-v1"}', "no model 'gone-v1'"),
        (b'{"id": "../reviews-v1"}', "no model"),
        (b'{"id": ""}', "no model"),
        (b'{"id": "' + b"n" * 300 + b'-v1"}', "no model 'nnn"),
        (b'{"id": "' + b"n" * 20_000 + b'-v1"}', "more than 10,000 bytes"),
        (b"[" * 5_000, "cannot be read"),
    ],
)
def test_a_useless_active_file_means_no_active_model(
    cache: ModelCache, registered: Registered, content: bytes, says: str
):
    cache.install(registered(), download, prepare)
    (cache.folder / "active.json").write_bytes(content)

    assert cache.active() is None
    problem = cache.active_problem()
    assert problem is not None
    assert says in problem
    assert cache.activate("reviews-v1") == cache.active()


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, link_to_itself, lambda path: path.symlink_to("gone.json")]
)
def test_an_unreadable_active_file_is_reported(
    cache: ModelCache, registered: Registered, make: Callable[[Path], None]
):
    cache.install(registered(), download, prepare)
    active = cache.folder / "active.json"
    make(active)

    assert cache.active() is None
    assert cache.active_stamp() is not None
    problem = str(cache.active_problem())
    assert "active.json cannot be read" in problem
    assert "Delete it" in problem
    if active.is_dir():
        with pytest.raises(StorageError, match=r"active\.json"):
            cache.activate("reviews-v1")
        active.rmdir()
    assert cache.activate("reviews-v1") == cache.active()


def test_the_active_model_cannot_be_removed(cache: ModelCache, registered: Registered):
    for version in (1, 2):
        cache.install(registered(version=version), download, prepare)
    cache.activate("reviews-v1")

    with pytest.raises(ModelInUseError, match="Activate another"):
        cache.remove("reviews-v1")
    cache.activate("reviews-v2")
    cache.remove("reviews-v1")

    assert [model.id for model in cache.list()] == ["reviews-v2"]
    assert visible(cache) == ["active.json", "reviews-v2"]


def test_the_format_of_the_active_file(cache: ModelCache, registered: Registered):
    cache.activate(cache.install(registered(), download, prepare).id)

    assert msgspec.json.decode((cache.folder / "active.json").read_bytes()) == {
        "id": "reviews-v1",
        "before": None,
    }


# IDs


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("reviews", "reviews-v3"),
        ("My model_2.0", "My~20model_2.0-v3"),
        ("..", "~2E.-v3"),
        ("../../etc/passwd", "~2E.~2F..~2Fetc~2Fpasswd-v3"),
        (".tmp-x", "~2Etmp-x-v3"),
        ("a~b%c", "a~7Eb~25c-v3"),
        ("Bücher", "B~C3~BCcher-v3"),
        ("nul\0", "nul~00-v3"),
    ],
)
def test_ids_are_safe_file_names(cache: ModelCache, registered: Registered, name: str, id_: str):
    assert model_id(name, 3) == id_
    model = cache.install(registered(name, 3), download, prepare)
    assert model.path.parent == cache.folder
    assert cache.get(id_).name == name
    cache.remove(id_)
    assert visible(cache) == []


@pytest.mark.parametrize("name", ["", "x" * 300, "漢" * 40])
def test_impossible_names_are_refused(cache: ModelCache, registered: Registered, name: str):
    with pytest.raises(InputError, match="folder name"):
        cache.install(registered(name), forbidden, forbidden)


@pytest.mark.parametrize(
    "id_",
    [
        "n" * 300 + "-v1",
        "",
        ".",
        "..",
        "/",
        "../models/reviews-v1",
        ".locks",
        "reviews",
        "reviews-v1/",
        "a\0-v1",
    ],
)
def test_ids_cannot_leave_the_cache(cache: ModelCache, registered: Registered, id_: str):
    cache.install(registered(), download, prepare)

    for use in (cache.get, cache.activate, cache.remove, cache.verify):
        with pytest.raises(ModelNotFoundError):
            use(id_)
    assert [model.id for model in cache.list()] == ["reviews-v1"]

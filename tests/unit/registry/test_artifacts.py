"""Downloading a model: what is refused, and how much is read before it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from pipelines.errors import (
    CorruptModelError,
    ModelNotFoundError,
    StorageError,
    UnsafeModelError,
)
from pipelines.registry.artifacts import SMALL_FILE, download_model, refuse_pickle
from pipelines.registry.manifest import FileEntry, Manifest
from pipelines.registry.transfer import ArtifactRepository, artifact_repository
from tests.unit.cache.conftest import FILES, write_model

SENT = 300_000_000
"""Bytes that the server would send of a file that is larger than it should be."""


class Served:
    """An HTTP server for the files of a folder; of those in `endless` it sends `SENT` bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endless: set[str] = set()
        self.sent = 0
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.lstrip("/")
        path = self.folder / name
        request.send_response(200 if path.is_file() else 404)
        request.end_headers()
        if name in self.endless:
            piece = bytes(1_000_000)
            while self.sent < SENT:
                try:
                    request.wfile.write(piece)
                except OSError:
                    return
                self.sent += len(piece)
        elif path.is_file():
            request.wfile.write(path.read_bytes())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    write_model(folder)
    return folder


@pytest.fixture
def served(source: Path) -> Iterator[Served]:
    made = Served(source)
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture(params=["folder", "server"])
def repository(request: pytest.FixtureRequest, source: Path) -> ArtifactRepository:
    if request.param == "folder":
        return artifact_repository(source.as_uri(), "sqlite://")
    port = request.getfixturevalue("served").server.server_address[1]
    return artifact_repository(f"http://127.0.0.1:{port}", "sqlite://")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_the_listed_files_are_downloaded(
    repository: ArtifactRepository, source: Path, target: Path
) -> None:
    (source / "unlisted").write_bytes(b"x")
    steps: list[tuple[int, int | None]] = []
    download_model(repository, target, "It", on_progress=lambda *step: steps.append(step))

    for name, content in FILES.items():
        assert (target / name).read_bytes() == content
    assert not (target / "unlisted").exists()
    total = sum(map(len, FILES.values()))
    assert steps == sorted(steps)
    assert steps[-1] == (total, total)


@pytest.mark.parametrize("name", ["model.skops", "figures/roc.svg"])
def test_a_larger_file_than_the_manifest_says_is_not_downloaded(
    repository: ArtifactRepository, source: Path, target: Path, name: str
) -> None:
    (source / name).write_bytes(bytes(len(FILES[name]) + 1))
    with pytest.raises(CorruptModelError, match=rf"It: the file {name} has more than .* bytes"):
        download_model(repository, target, "It")
    assert not (target / name).exists() or (target / name).stat().st_size <= len(FILES[name])


@pytest.mark.parametrize("name", ["MLmodel", "manifest.json", "model.skops"])
def test_a_server_that_does_not_stop_sending_is_cut_off(
    served: Served, target: Path, name: str
) -> None:
    served.endless = {name}
    repository = artifact_repository(f"http://127.0.0.1:{served.server.server_port}", "sqlite://")
    with pytest.raises(CorruptModelError, match=f"the file {name} has more than"):
        download_model(repository, target, "It")
    assert served.sent < SENT / 5
    assert sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) < 2 * SMALL_FILE


@pytest.mark.parametrize(
    ("lost", "error"),
    [
        ("MLmodel", ModelNotFoundError),
        ("manifest.json", CorruptModelError),
        ("model.skops", CorruptModelError),
    ],
)
def test_a_missing_file_is_named(
    repository: ArtifactRepository, source: Path, target: Path, lost: str, error: type[Exception]
) -> None:
    (source / lost).unlink()
    with pytest.raises(error, match=rf"{lost}.*Register it again"):
        download_model(repository, target, "It")


@pytest.mark.parametrize(
    ("name", "size", "error"),
    [
        ("../../outside", 1, CorruptModelError),
        ("/tmp/outside", 1, CorruptModelError),
        ("a\\b", 1, CorruptModelError),
        ("a\nb", 1, CorruptModelError),
        ("a\0", 1, CorruptModelError),
        ("", 1, CorruptModelError),
        ("x" * 300, 1, CorruptModelError),
        ("x/" * 2_000 + "x", 1, CorruptModelError),
        ("MLmodel/x", 1, CorruptModelError),
        ("manifest.json", 1, CorruptModelError),
        ("extra.pkl", 1, UnsafeModelError),
        ("negative", -1, CorruptModelError),
        ("huge", 10**18, StorageError),
    ],
)
def test_an_impossible_manifest_is_refused_before_its_files(
    source: Path, target: Path, name: str, size: int, error: type[Exception]
) -> None:
    manifest = msgspec.json.decode((source / "manifest.json").read_bytes(), type=Manifest)
    manifest.files[name] = FileEntry(size, "0" * 64)
    (source / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(error) as raised:
        download_model(artifact_repository(source.as_uri(), "sqlite://"), target, "It")
    assert len(str(raised.value)) < 500
    assert {path.name for path in target.rglob("*")} == {"MLmodel", "manifest.json"}


@pytest.mark.parametrize("name", ["MLmodel", "manifest.json", "model.skops"])
@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/etc"),
    ],
    ids=["pipe", "folder", "link to itself", "link to a device", "link to a folder"],
)
def test_what_is_no_plain_file_is_refused(
    source: Path, target: Path, name: str, make: Callable[[Path], None]
) -> None:
    (source / name).unlink()
    make(source / name)
    with pytest.raises(CorruptModelError, match=r"the file .* cannot be.*Register it again"):
        download_model(artifact_repository(source.as_uri(), "sqlite://"), target, "It")


def test_another_manifest_than_the_registered_one_is_refused(source: Path, target: Path) -> None:
    with pytest.raises(CorruptModelError, match=r"not the one that was registered.*again"):
        download_model(artifact_repository(source.as_uri(), "sqlite://"), target, "It", "0" * 64)


# MLmodel

LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9))
    for name in range(ord("b"), ord("j"))
)


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS + b"flavors: *i\n",
        b"flavors: &a {sklearn: {serialization_format: skops}, more: *a}\n",
        b"flavors: &a [*a]\n",
        b"base: &b {serialization_format: skops}\nflavors: {sklearn: {<<: *b}}\n",
        b"flavors: " + b"[" * 90_000,
        b"flavors: " + b"{a: " * 45_000,
        b"- " * 90_000,
        b"flavors: {}\n" + b"a: b\n" * 1_800_000,
        b"",
        b"\xff\xfe\x00",
        b"\0",
        b"flavors: [1, 2]",
        b"flavors: {sklearn: [skops]}",
        b"[]",
        b"flavors: !!python/object/apply:os.system [true]",
        b"a: b: c",
    ],
)
def test_invalid_mlmodel_files_are_refused(content: bytes) -> None:
    with pytest.raises((CorruptModelError, UnsafeModelError)):
        refuse_pickle(content, "It")


@pytest.mark.parametrize(
    "content",
    [
        b"flavors: {sklearn: {serialization_format: cloudpickle}}",
        b"flavors: {sklearn: {serialization_format: skops, data: model.pkl}}",
        b"flavors: {sklearn: {serialization_format: skops}, x: {load: 'a b/model.joblib'}}",
        b"flavors: {python_function: {loader_module: x}}",
    ],
)
def test_other_files_than_skops_models_are_unsafe(content: bytes) -> None:
    with pytest.raises(UnsafeModelError, match="olens train --log-model"):
        refuse_pickle(content, "It")


def test_a_message_has_one_line_whatever_mlmodel_says() -> None:
    content = b'flavors: {sklearn: {serialization_format: "a\\nb\\e[31m"}}'
    with pytest.raises(UnsafeModelError) as raised:
        refuse_pickle(content, "It")
    assert str(raised.value).isprintable()


def test_a_skops_model_is_not_refused() -> None:
    refuse_pickle(FILES["MLmodel"], "It")
    refuse_pickle(
        b"run: 1:1:1\nwhen: 2026-01-01\nflavors: {sklearn: {serialization_format: skops}}", "It"
    )

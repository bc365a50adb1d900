"""`olens data download`: how files arrive, and every way in which they do not.

The tests with `kaggle` run the real kagglehub against a local HTTP server that answers as Kaggle's
API does; the tests with `fake` replace ``kagglehub.dataset_download`` by a function of their own.
None of them leaves this machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import kagglehub
import pytest
from kagglesdk import kaggle_env

from pipelines.datasets.downloading import Download, download
from pipelines.errors import DataError, MissingExtraError
from tests.unit.datasets.project import Project, csv_of, rows_of

CONTENT = csv_of(rows_of(20)).encode()
NAME = "All Reviews.csv"


@pytest.fixture
def declared(project: Project) -> Project:
    project.declare(reviews={"path": f"Folder/{NAME}", "kaggle": "owner/reviews"})
    return project


def fetch(project: Project, **options: bool) -> Download:
    return download(project.settings, project.params, "reviews", **options)


def raw_files(project: Project) -> list[str]:
    return sorted(str(path.relative_to(project.raw)) for path in project.raw.rglob("*"))


class Kaggle:
    """What the local server sends, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.cut = False
        self.asked: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    kaggle: Kaggle

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.kaggle.asked.append((self.path.rpartition("/")[2], self.headers["Authorization"]))
        if self.kaggle.status != 200:
            self.answer(self.kaggle.status, b'{"message": "no"}', "application/json")
        elif self.path.endswith("/GetDataset"):
            self.answer(200, b'{"currentVersionNumber": 3}', "application/json")
        else:
            self.redirect(body.get("fileName", ""))

    def do_GET(self) -> None:
        content = self.kaggle.files[unquote(self.path).rpartition("/")[2]]
        if self.kaggle.cut:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            self.answer(200, content, "application/octet-stream")

    def redirect(self, name: str) -> None:
        """Kaggle sends large files zipped, by the name with `.zip`."""
        found = next((n for n in (name, f"{name}.zip") if n in self.kaggle.files), None)
        if found is None:
            self.answer(404, b'{"message": "not found"}', "application/json")
            return
        self.send_response(302)
        self.send_header("Location", f"/storage/{quote(found)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Kaggle-HubVersion", "999.0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kaggle]:
    state = Kaggle()
    handler = type("BoundHandler", (Handler,), {"kaggle": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "no-credentials"))
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "files", [{NAME: CONTENT}, {f"{NAME}.zip": zipped(NAME, CONTENT)}], ids=["plain", "zipped"]
)
def test_a_file_arrives_where_it_is_declared(
    files: dict[str, bytes], kaggle: Kaggle, declared: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    kaggle.files = files

    done = fetch(declared)

    path = declared.raw / "Folder" / NAME
    assert path.read_bytes() == CONTENT
    assert done == Download(
        "reviews", str(path), len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), True
    )
    assert raw_files(declared) == ["Folder", f"Folder/{NAME}"]
    assert kaggle.asked == [("GetDataset", None), ("DownloadDataset", None)]
    assert "100%" in capfd.readouterr().err


def test_standard_output_is_left_to_the_result(
    kaggle: Kaggle,
    declared: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    monkeypatch.setattr("kagglehub.clients.already_printed_version_warning", False)
    logger = logging.getLogger("kagglehub")
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(logger.handlers[0], "stream", sys.stdout)
    kaggle.files = {NAME: CONTENT}

    fetch(declared)

    captured = capfd.readouterr()
    assert captured.out == ""
    assert "outdated" in captured.err


def test_a_file_that_is_there_is_kept_unless_forced(kaggle: Kaggle, declared: Project) -> None:
    kaggle.files = {NAME: CONTENT}
    old = csv_of(rows_of(3)).encode()
    path = declared.write(old, f"Folder/{NAME}")

    kept = fetch(declared)

    assert (kept.fetched, kept.size, kaggle.asked) == (False, len(old), [])
    assert fetch(declared, force=True).fetched
    assert path.read_bytes() == CONTENT


def test_credentials_are_sent(
    kaggle: Kaggle, declared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    kaggle.files = {NAME: CONTENT}

    fetch(declared)

    assert all(header is not None and header.startswith("Basic ") for _, header in kaggle.asked)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "KAGGLE_USERNAME and KAGGLE_KEY"),
        (403, "KAGGLE_USERNAME and KAGGLE_KEY"),
        (404, "Kaggle has no file 'All Reviews.csv' in a data set 'owner/reviews'"),
        (500, "Kaggle answers HTTP 500"),
        (429, "Kaggle answers HTTP 429"),
    ],
)
def test_refusals_are_explained(
    status: int, message: str, kaggle: Kaggle, declared: Project
) -> None:
    kaggle.status = status

    with pytest.raises(DataError, match=message):
        fetch(declared)

    assert raw_files(declared) == []


def test_a_file_that_kaggle_lacks_is_an_error(kaggle: Kaggle, declared: Project) -> None:
    kaggle.files = {"Other.csv": CONTENT}

    with pytest.raises(DataError, match=r"Kaggle has no file 'All Reviews\.csv'"):
        fetch(declared)

    assert raw_files(declared) == []


def test_an_archive_without_the_file_is_an_error(kaggle: Kaggle, declared: Project) -> None:
    kaggle.files = {f"{NAME}.zip": zipped("Renamed.csv", CONTENT)}

    with pytest.raises(DataError, match=r"has no file 'All Reviews\.csv'; it has: Renamed\.csv"):
        fetch(declared)

    assert raw_files(declared) == []


def test_a_file_with_other_columns_does_not_replace_a_good_one(
    kaggle: Kaggle, declared: Project
) -> None:
    declared.write(CONTENT, f"Folder/{NAME}")
    kaggle.files = {NAME: b"<html>Sign in</html>\n"}

    with pytest.raises(DataError, match="is an HTML page"):
        fetch(declared, force=True)

    assert (declared.raw / "Folder" / NAME).read_bytes() == CONTENT
    assert raw_files(declared) == ["Folder", f"Folder/{NAME}"]


def test_a_connection_that_breaks_leaves_nothing(kaggle: Kaggle, declared: Project) -> None:
    kaggle.files = {NAME: csv_of(rows_of(5_000)).encode()}
    kaggle.cut = True

    with pytest.raises(DataError, match="Kaggle cannot be reached"):
        fetch(declared)

    assert raw_files(declared) == []


def test_no_network_is_an_error_that_says_so(
    kaggle: Kaggle, declared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real kagglehub; the port is one where nobody listens."""
    monkeypatch.setitem(
        kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, "http://127.0.0.1:1"
    )

    with pytest.raises(DataError, match=r"Kaggle cannot be reached .*Connection refused"):
        fetch(declared)

    assert raw_files(declared) == []


def test_a_data_set_without_slug_cannot_be_downloaded(project: Project) -> None:
    with pytest.raises(DataError, match="names no Kaggle data set"):
        fetch(project)


def test_without_kagglehub_the_extra_is_named(
    declared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'opinionlens\[train\]'"):
        fetch(declared)

    assert raw_files(declared) == []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], str]], list[object]]:
    def install(answer: Callable[[Path], str]) -> list[object]:
        calls: list[object] = []

        def dataset_download(handle: str, path: str, *, output_dir: str) -> str:
            calls.append((handle, path))
            return answer(Path(output_dir))

        monkeypatch.setattr(kagglehub, "dataset_download", dataset_download)
        return calls

    return install


@pytest.mark.parametrize(
    ("path", "asked"),
    [("file.csv", "file.csv"), ("Own/file.csv", "file.csv"), ("Own/a b/file.csv", "a b/file.csv")],
)
def test_the_first_folder_is_ours(
    path: str,
    asked: str,
    project: Project,
    fake: Callable[[Callable[[Path], str]], list[object]],
) -> None:
    def answer(folder: Path) -> str:
        (folder / "file.csv").write_bytes(CONTENT)
        return str(folder / "file.csv")

    calls = fake(answer)
    project.declare(reviews={"path": path, "kaggle": "owner/reviews"})

    fetch(project)

    assert calls == [("owner/reviews", asked)]
    assert (project.raw / path).read_bytes() == CONTENT


def test_an_interrupt_leaves_nothing(
    declared: Project, fake: Callable[[Callable[[Path], str]], list[object]]
) -> None:
    def answer(folder: Path) -> str:
        (folder / NAME).write_bytes(CONTENT[:30])
        raise KeyboardInterrupt

    fake(answer)

    with pytest.raises(KeyboardInterrupt):
        fetch(declared)

    assert raw_files(declared) == []


def test_an_impossible_slug_is_an_error(project: Project) -> None:
    project.declare(reviews={"kaggle": "no-slash"})

    with pytest.raises(DataError, match="no-slash cannot be downloaded"):
        fetch(project)

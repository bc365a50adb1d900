"""`olens register`, `olens fetch` and `olens models` as their users meet them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.cache.model_cache import ModelCache
from tests.disks import small_disk
from tests.integration.commands import CHECKOUT, OLENS, Olens
from tests.integration.services import RegistryServer, free_port
from tests.integration.tracked import LABELS, METRICS, TEXTS, Tracked, log_model, save_model
from tests.support import PATIENCE

pytestmark = pytest.mark.postgres


@pytest.fixture
def project(
    tmp_path: Path,
    tracked: Tracked,
    registry_server: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An empty project with the tracking store of `tracked` and the server as its registry."""
    monkeypatch.chdir(tmp_path)
    variables = {
        "OLENS_ROOT": str(tmp_path),
        "OLENS_MLFLOW__TRACKING_URI": tracked.settings.mlflow.tracking_uri,
        "OLENS_MLFLOW__REGISTRY_URI": registry_server.uri,
        "OLENS_MLFLOW__REGISTRY_USERNAME": registry_server.username,
        "OLENS_MLFLOW__REGISTRY_PASSWORD": registry_server.password,
        "OLENS_MLFLOW__TIMEOUT": str(PATIENCE),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def olens(project: Path, olens: Olens) -> Olens:
    """Runs the command in `project`."""
    return olens


@pytest.fixture
def cache(project: Path) -> ModelCache:
    return ModelCache(project / "models")


@pytest.fixture
def registered(olens: Olens, tracked: Tracked, request: pytest.FixtureRequest) -> str:
    """A registered model of the test's own: its name."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    done = olens("register", tracked.model_id, name, "--alias", "champion")
    assert (done.code, done.message) == (0, "")
    return name


def test_the_whole_way(
    olens: Olens,
    cache: ModelCache,
    registered: str,
    tracked: Tracked,
):
    fetched = olens("fetch", registered, "--json")
    assert (fetched.code, fetched.message) == (0, "")
    model = json.loads(fetched.out)
    assert model["id"] == f"{registered}-v1"
    assert model["metrics"] == METRICS
    assert model["aliases"] == ["champion"]
    logged = (tracked.folder / "model.skops").read_bytes()
    assert (Path(model["path"]) / "model/model.skops").read_bytes() == logged
    assert cache.active() is None

    assert olens("models", "activate", model["id"]).out == f"{model['id']} is active\n"
    listed = {each["id"]: each for each in json.loads(olens("models", "list", "--json").out)}
    mine = listed[model["id"]]
    assert (mine["active"], mine["places"]) == (True, ["cached", "registered"])
    assert (listed["base"]["active"], listed["base"]["places"]) == (False, ["package"])
    assert listed[tracked.model_id]["places"] == ["logged"]
    assert json.loads(olens("models", "show", "--json").out) == model | {"active": True}

    table = olens("models", "list").out
    assert model["id"] in table
    assert "champion" in table
    assert "metric accuracy" in olens("models", "show", model["id"]).out

    assert olens("fetch", registered, "--activate").code == 0
    refused = olens("models", "remove", model["id"])
    assert refused.code == 1
    assert "is the active model" in refused.message


def test_an_alias_moves_only_to_a_version_that_is_not_worse(
    olens: Olens, registered: str, tracked: Tracked, tmp_path: Path
):
    """The second version has learnt the opposite."""
    from mlflow import MlflowClient

    worse = tmp_path / "worse"
    save_model(worse, labels=LABELS[::-1])
    model_id, run_id = log_model(tracked.settings, worse)
    assert olens("register", model_id, registered).code == 0
    rows = [f'"{text}",{label}' for text, label in zip(TEXTS, LABELS, strict=True)] * 3
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows]))

    def promote(version: int, *options: str) -> tuple[int, str]:
        done = olens("promote", f"{registered}/{version}", "--data", "mine.csv", *options)
        return done.code, done.message

    def champion() -> int:
        return int(json.loads(olens("fetch", f"{registered}", "--json").out)["version"])

    code, said = promote(2)
    assert code == 1
    assert "champion stays version 1" in said
    assert "mine.csv: -100.0 points of accuracy" in said
    assert champion() == 1
    client = MlflowClient(tracked.settings.mlflow.tracking_uri)
    kept = client.list_artifacts(run_id, f"comparison/{registered}-v1")
    assert [Path(each.path).name for each in kept] == ["comparison.json", "comparison.md"]

    assert promote(2, "--force")[0] == 0
    assert champion() == 2
    assert promote(1)[0] == 0
    assert champion() == 1


def test_registering_as_json(olens: Olens, tracked: Tracked):
    done = olens("register", tracked.run_id, "as-json", "--alias", "a", "--json")

    version = json.loads(done.out)
    assert (version["name"], version["version"], version["aliases"]) == ("as-json", 1, ["a"])
    assert version["metrics"] == METRICS


def test_a_chosen_version_is_fetched(olens: Olens, registered: str, tracked: Tracked):
    assert olens("register", tracked.model_id, registered, "--alias", "new").code == 0

    for choice, id_ in (
        ([], f"{registered}-v1"),
        (["--version", "2"], f"{registered}-v2"),
        (["--alias", "new"], f"{registered}-v2"),
    ):
        assert json.loads(olens("fetch", registered, *choice, "--json").out)["id"] == id_
    removed = olens("models", "remove", f"{registered}-v2", "--json")
    assert json.loads(removed.out) == {"removed": f"{registered}-v2"}
    cached = json.loads(olens("models", "list", "--cached", "--json").out)
    assert [each["id"] for each in cached] == ["base", "base3", f"{registered}-v1"]


def test_every_name_of_a_registered_model_leads_to_it(
    olens: Olens, registered: str, tracked: Tracked
):
    """What is not in the cache is fetched; what is there answers without the registry."""
    assert olens("register", tracked.model_id, registered, "--alias", "new").code == 0

    def answering(name: str) -> str:
        return str(json.loads(olens("predict", "good", "--model", name, "--json").out)[0]["model"])

    first, second = f"{registered}-v1", f"{registered}-v2"
    names = {registered: first, f"{registered}@new": second, f"{registered}/1": first}
    names |= {second: second, f"models:/{registered}/2": second}
    assert {name: answering(name) for name in names} == names
    assert json.loads(olens("models", "show", registered, "--json").out)["id"] == first
    assert olens("models", "activate", f"{registered}@new").out == f"{second} is active\n"


@pytest.mark.parametrize("kind", ["cached", "folder"])
def test_a_model_that_is_not_logged_is_registered_byte_for_byte(
    olens: Olens, registered: str, tracked: Tracked, kind: str
):
    name = registered if kind == "cached" else str(tracked.folder)
    done = olens("register", name, f"{registered}-again", "--json")
    assert done.code == 0, done.message
    assert json.loads(done.out)["metrics"] == METRICS
    again = Path(json.loads(olens("fetch", f"{registered}-again", "--json").out)["path"])
    logged = (tracked.folder / "model.skops").read_bytes()
    assert (again / "model/model.skops").read_bytes() == logged


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["register", "m-00000000000000000000000000000000", "x"], 1, "no logged model m-0"),
        (["register", "what", "x"], 1, "There is no model what"),
        (["register", "latest", "base"], 1, "base names something else"),
        (["register", "latest", "a/b"], 1, "Names cannot contain '/'"),
        (["register", "latest", "x", "--alias", "latest"], 1, "reserved"),
        (["fetch", "nobody"], 1, "no model 'nobody'. There are: "),
        (["fetch", "x", "--version", "1", "--alias", "a"], 2, "give one version or one alias"),
        (["fetch", "x", "--version", "0"], 2, "--version"),
        (["fetch"], 2, "Missing argument"),
        (["models", "remove", "base"], 1, "comes with OpinionLens"),
        (["models", "show", "x-v1"], 1, "There is no model x-v1"),
        (["models", "activate", "../x-v1"], 1, "../x-v1 does not exist"),
        (["models", "remove", ".."], 1, "no model '..'"),
    ],
)
def test_wrong_input_is_explained(
    olens: Olens, project: Path, registered: str, arguments: list[str], code: int, says: str
):
    done = olens(*arguments)

    assert done.code == code
    assert says in done.message
    assert done.out == ""
    assert list(project.iterdir()) == []


def test_an_empty_cache_has_the_base_model(olens: Olens):
    base, _ = json.loads(olens("models", "list", "--cached", "--json").out)
    assert (base["id"], base["active"]) == ("base", True)


def test_a_damaged_cache_is_shown(olens: Olens, cache: ModelCache, registered: str):
    model = json.loads(olens("fetch", registered, "--activate", "--json").out)
    weights = Path(model["path"]) / "model/model.skops"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")

    for command in (["activate", model["id"]], ["show"]):
        damaged = olens("models", *command)
        assert damaged.code == 1
        assert "is damaged" in damaged.message
    (cache.folder / "active.json").write_text("")
    assert "active.json cannot be read" in olens("models", "list").message
    assert olens("fetch", registered, "--activate").code == 0
    assert cache.verify(model["id"]) == cache.active()


def test_a_pickle_is_refused(olens: Olens, cache: ModelCache, tracked: Tracked, tmp_path: Path):
    from tests.integration.test_registry import register_behind_our_back, with_mlflow

    files = tmp_path / "pickled"
    save_model(files, serialization_format="cloudpickle")
    uri, name = os.environ["OLENS_MLFLOW__REGISTRY_URI"], "pickle-by-command"
    settings = with_mlflow(
        tracked.settings,
        registry_uri=uri,
        registry_username=os.environ["OLENS_MLFLOW__REGISTRY_USERNAME"],
        registry_password=os.environ["OLENS_MLFLOW__REGISTRY_PASSWORD"],
    )
    register_behind_our_back(settings, name, files)

    done = olens("fetch", name)

    assert done.code == 1
    assert "olens train --log-model" in done.message
    assert cache.list() == []
    assert not list(cache.folder.glob(".tmp-*"))


# Accounts


def test_a_wrong_password_is_an_error_without_a_terminal(olens: Olens, registered: str):
    done = olens("fetch", registered, "--username", "me", "--password-stdin", stdin="wr0ng\n")

    assert done.code == 1
    assert "refused the user 'me'" in done.message
    assert "wr0ng" not in done.message


def test_the_password_comes_from_standard_input(
    olens: Olens,
    registered: str,
    registry_server: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("OLENS_MLFLOW__REGISTRY_USERNAME")
    monkeypatch.delenv("OLENS_MLFLOW__REGISTRY_PASSWORD")
    account = ("--username", registry_server.username, "--password-stdin")

    assert "a caller without a name" in olens("fetch", registered).message
    assert "no password for me" in olens("fetch", registered, "--username", "me").message
    assert "needs a name" in olens("fetch", registered, "--password-stdin").message
    assert "holds no password" in olens("fetch", registered, *account, stdin="\n").message
    done = olens("fetch", registered, *account, stdin=registry_server.password + "\n")
    assert (done.code, done.message) == (0, "")


def test_a_terminal_is_asked_for_the_account_once(
    project: Path, registered: str, registry_server: RegistryServer, cache: ModelCache
):
    environment = {**os.environ, "OLENS_MLFLOW__REGISTRY_PASSWORD": "wrong"}
    with on_a_terminal(["fetch", registered], environment) as (process, terminal):
        read_until(terminal, b"User name [admin]")
        os.write(terminal, b"\n")
        read_until(terminal, b"Password: ")  # its blank is written after the echo is off
        os.write(terminal, registry_server.password.encode() + b"\n")
        shown = read_until(terminal, None)
        assert process.wait(PATIENCE) == 0

    assert registry_server.password.encode() not in shown
    assert [model.name for model in cache.list()] == [registered]


@contextmanager
def on_a_terminal(
    arguments: list[str], environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `olens` with a terminal of its own; gives our end of it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*OLENS, *arguments],
        env={**environment, "PYTHONPATH": str(CHECKOUT)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read_until(terminal: int, text: bytes | None) -> bytes:
    """What the terminal shows until `text`, or until the process ends."""
    shown = b""
    while text is None or text not in shown:
        ready, _, _ = select.select([terminal], [], [], PATIENCE)
        assert ready, f"nothing more after {shown!r}"
        try:
            got = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            got = b""
        if not got:
            assert text is None, shown
            break
        shown += got
    return shown


# Servers and disks that fail


def test_a_dead_registry_is_explained(olens: Olens, project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OLENS_MLFLOW__REGISTRY_URI", f"http://127.0.0.1:{free_port()}")

    for command in (["fetch", "reviews"], ["register", "latest", "reviews"]):
        done = olens(*command)
        assert done.code == 1
        assert "connection refused" in done.message
    assert list(project.iterdir()) == []


def test_a_full_disk_during_a_fetch(
    olens: Olens, registered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """First the download does not fit, then what is made of it."""
    monkeypatch.setenv("OLENS_PATHS__MODELS", str(tmp_path / "disk"))
    with small_disk(tmp_path / "disk", "32k") as disk:
        done = olens("fetch", registered)
        assert done.code == 1
        assert "has too little room" in done.message
        assert "MB are free" in done.message
        assert [path.name for path in disk.iterdir()] == [".locks"]
    with small_disk(tmp_path / "disk", "1m"):
        assert olens("fetch", registered).code == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_fetch_that_is_ended_leaves_no_model(
    olens: Olens,
    registered: str,
    cache: ModelCache,
    registry_server: RegistryServer,
    number: signal.Signals,
):
    with (
        stalling(registry_server.uri, after=30_000) as (uri, stalled),
        subprocess.Popen(
            [*OLENS, "fetch", registered, "--activate"],
            env={**os.environ, "OLENS_MLFLOW__REGISTRY_URI": uri, "PYTHONPATH": str(CHECKOUT)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert stalled.wait(PATIENCE)
        assert list(cache.folder.glob(f".tmp-{registered}-v1-*"))
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)

    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in said
    assert cache.list() == []
    assert cache.active() is None

    assert olens("fetch", registered, "--activate").code == 0
    assert cache.verify(f"{registered}-v1") == cache.active()
    assert not list(cache.folder.glob(".tmp-*"))


@contextmanager
def stalling(uri: str, after: int) -> Iterator[tuple[str, threading.Event]]:
    """A proxy for the server at `uri` that stops in the middle of an answer of `after` bytes."""
    target = urlsplit(uri)
    stalled, ended = threading.Event(), threading.Event()

    def relay(source: socket.socket, sink: socket.socket, limit: float) -> None:
        passed = 0
        with source, sink, suppress(ConnectionError):
            while data := source.recv(4096):
                passed += len(data)
                if passed > limit:
                    stalled.set()
                    ended.wait(PATIENCE)
                    return
                sink.sendall(data)

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((target.hostname, target.port))
            for source, sink, limit in ((client, server, float("inf")), (server, client, after)):
                threading.Thread(
                    target=relay, args=(source, sink.dup(), limit), daemon=True
                ).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", stalled
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)

"""`olens predict --data --output` in processes that are killed, and on a real S3 server."""

from __future__ import annotations

import importlib.util
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.integration.commands import OLENS, Olens, clean_environment
from tests.integration.services import free_port
from tests.interruptions.files import KilledScoring, write_rows
from tests.support import PATIENCE, require


@pytest.mark.parametrize("output", [".csv", ".parquet"])
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_file(tmp_path: Path, output: str) -> None:
    scoring = KilledScoring(tmp_path, 400_000, output)

    found = list(scoring.killed(3, random.Random(output)))

    assert len(found) == 3
    assert not list(tmp_path.glob(".*"))


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 400_000)
    process = start(tmp_path, "--data", "rows.csv", "--output", "out.csv")
    work = tmp_path / ".out.csv.unfinished" / "00000" / "state.json"
    while not work.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "give the same command with --resume" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out.csv").exists()


def environment_of(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server with a bucket called `reviews`."""
    for module in ("moto", "s3fs"):
        require(importlib.util.find_spec(module), f"{module} is not installed")
    import boto3

    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            wait_for(port, server)
            client = boto3.client(
                "s3",
                endpoint_url=url,
                aws_access_key_id="nobody",
                aws_secret_access_key="nothing",
                region_name="us-east-1",
            )
            client.create_bucket(Bucket="reviews")
            yield url
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("moto's server did not start")


@pytest.fixture
def s3(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket's files; this process finds the server by its environment."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in environment_of(bucket).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()


def test_files_of_a_bucket_become_files_of_a_bucket(olens: Olens, s3: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        frame = pl.DataFrame({"n": [1, 2], "text": [f"A lovely {name}", "Cold food"]})
        frame.write_parquet(tmp_path / f"{name}.parquet")
        s3.put_file(str(tmp_path / f"{name}.parquet"), f"reviews/in/{name}.parquet")

    predict = ("predict", "--model", "base", "--data", "s3://reviews/in/*.parquet", "--output")
    folder = olens(*predict, "s3://reviews/scored/")
    one = olens(*predict, "s3://reviews/all.csv")
    again = olens(*predict, "s3://reviews/all.csv")
    here = olens("predict", "--model", "base", "--data", "s3://reviews/in", "--output", "o.jsonl")

    assert folder.code == one.code == here.code == 0, folder.err
    s3.invalidate_cache()
    assert s3.ls("reviews/scored") == ["reviews/scored/a.parquet", "reviews/scored/b.parquet"]
    scored = pl.read_parquet(s3.cat("reviews/scored/b.parquet"))
    assert scored["n"].to_list() == [1, 2]
    assert scored["prediction"].to_list() == ["POSITIVE", "NEGATIVE"]
    lines = s3.cat("reviews/all.csv").decode().splitlines()
    assert lines[0].startswith("n,text,prediction,")
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["1", "A lovely a"], ["2", "Cold food"], ["1", "A lovely b"], ["2", "Cold food"],
    ]  # fmt: skip
    assert again.code == 1
    assert "s3://reviews/all.csv is there already" in again.message
    assert [path.name for path in Path.cwd().iterdir()] == ["o.jsonl"]
    assert len(Path("o.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("s3://nowhere/out.csv", "there is no such bucket or file"),
        ("unreachable", "cannot be reached or used"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_line(
    olens: Olens, s3: Any, monkeypatch: pytest.MonkeyPatch, output: str, message: str
) -> None:
    write_rows(Path("rows.csv"), 10)
    if output == "unreachable":
        type(s3).clear_instance_cache()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        output = "s3://reviews/out.csv"

    done = olens("predict", "--model", "base", "--data", "rows.csv", "--output", output)

    assert done.code == 1
    assert len(done.err.splitlines()) == 1, done.err
    assert message in done.message
    assert [path.name for path in Path.cwd().iterdir()] == ["rows.csv"]


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*OLENS, "predict", "--model", "base", *arguments],
        cwd=folder,
        env=clean_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )

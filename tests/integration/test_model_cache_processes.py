"""The model cache between processes: killed ones, concurrent ones, and a disk that is full."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.cache.model_cache import ModelCache
from pipelines.errors import StorageError
from pipelines.registry.versions import RegisteredVersion
from tests import disks
from tests.support import PATIENCE
from tests.unit.cache.conftest import download, prepare

# A process that installs reviews-v1, saying which step it is at; a step named in argv[2] waits
# for a line on stdin, so that the test decides what happens meanwhile.
INSTALL = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipelines.cache import model_cache as module
from pipelines.registry.versions import RegisteredVersion
from tests.unit.cache.conftest import download, prepare

def step(name):
    print(name, flush=True)
    if name == sys.argv[2]:
        sys.stdin.readline()

def slow_download(folder):
    (folder / "model.skops").write_bytes(b"half")
    step("download")
    download(folder)

def slow_prepare(entry):
    prepare(entry)
    step("prepare")

def slow_sync(folder, sync=module.sync_tree):
    step("sync")
    sync(folder)

module.sync_tree = slow_sync
version = RegisteredVersion(
    name="reviews", version=1, created=datetime(2026, 1, 2, tzinfo=UTC), source="test"
)
print(module.ModelCache(Path(sys.argv[1])).install(version, slow_download, slow_prepare).id)
"""


def start(cache: ModelCache, wait_at: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INSTALL, str(cache.folder), wait_at],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def wait_for(process: subprocess.Popen[str], step: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == step:
            return
    raise AssertionError(f"the process ended before {step}")


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "models")


@pytest.mark.parametrize("step", ["download", "prepare", "sync"])
def test_a_killed_install_leaves_no_model_and_the_next_one_works(cache: ModelCache, step: str):
    with start(cache, step) as killed:
        wait_for(killed, step)
        assert list(cache.folder.glob(".tmp-reviews-v1-*"))
        killed.send_signal(signal.SIGKILL)
    assert cache.list() == []
    assert cache.damaged() == {}

    with start(cache, "nothing") as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert output.split() == ["download", "prepare", "sync", "reviews-v1"]
    assert cache.verify("reviews-v1")
    assert sorted(path.name for path in cache.folder.iterdir()) == [".locks", "reviews-v1"]


def test_two_processes_share_one_download(cache: ModelCache):
    with start(cache, "download") as first:
        wait_for(first, "download")
        with start(cache, "nothing") as second:
            first_output, _ = first.communicate("go on\n", timeout=PATIENCE)
            second_output, _ = second.communicate(timeout=PATIENCE)

    assert first_output.split() == ["prepare", "sync", "reviews-v1"]
    assert second_output.split() == ["reviews-v1"]
    assert len(cache.list()) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disks.small_disk(tmp_path / "disk", "1m") as folder:
        yield folder


@pytest.mark.parametrize("step", ["download", "prepare"])
def test_a_full_disk_is_explained_and_cleaned(small_disk: Path, step: str):
    def too_much(folder: Path) -> None:
        (folder / "large").write_bytes(bytes(2_000_000))

    version = RegisteredVersion(
        name="reviews", version=1, created=datetime(2026, 1, 2, tzinfo=UTC), source="test"
    )
    cache = ModelCache(small_disk / "models")

    with pytest.raises(StorageError, match=r"is full.*needs more than .* MB"):
        cache.install(
            version,
            too_much if step == "download" else download,
            too_much if step == "prepare" else prepare,
        )
    assert cache.list() == []
    assert cache.install(version, download, prepare).id == "reviews-v1"

"""A running `olens serve` with real, tiny linear models."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_letters

import httpx
import msgspec
import numpy as np

from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.labels import BINARY, Classes
from pipelines.registry.manifest import write_manifest
from pipelines.registry.versions import RegisteredVersion
from tests.support import PATIENCE

BITS = 16


@dataclass(frozen=True)
class Service:
    """A service that answers."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    """What it writes on standard error."""

    @property
    def token(self) -> str:
        """The admin token that it printed."""
        found = re.search(r"export OLENS_SERVING__ADMIN_TOKEN=(\S+)", self.log.read_text())
        assert found, self.log.read_text()
        return found[1]

    @property
    def loaded(self) -> dict[int, str]:
        """The model that each worker loaded last, by its process."""
        said = re.findall(r'"process": (\d+),.*"Model (\S+) is loaded\."', self.log.read_text())
        return {int(process): model for process, model in said}

    def stop(self) -> int:
        """End it as a supervisor would; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def serve(
    root: Path, *options: str, env: Mapping[str, str] | None = None, files: int | None = None
) -> Iterator[Service]:
    """Run ``olens serve`` for the project in `root` on a free port until the end of the block.

    It may open so many `files` at once.
    """

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    # Several services of one project have logs of their own.
    with tempfile.NamedTemporaryFile(
        "w", prefix="serve-", suffix=".log", dir=root, delete=False
    ) as file:
        process = subprocess.Popen(
            serve_command(*options),
            stderr=file,
            text=True,
            env=environment(root, env),
            cwd=root,
            preexec_fn=limit,
        )
    try:
        log = Path(file.name)
        yield Service(_wait(process, log), process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def client(url: str) -> httpx.Client:
    """A client that connects anew for each request, so that it meets all workers."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=url, timeout=PATIENCE, limits=limits)


def serve_command(*options: str) -> list[str]:
    """The command line; a port among `options` wins."""
    return [sys.executable, "-m", "opinionlens_cli.main", "serve", "--port", "0", *options]


def environment(root: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, for the project in `root`, without settings of the machine that runs the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OLENS_")}
    project = Path(__file__).parent.parent
    # Tests ask more often than one client may.
    ours = {
        "OLENS_ROOT": str(root),
        "OLENS_SERVING__RATE_LIMIT": "0",
        "PYTHONPATH": str(project),
    }
    return kept | ours | dict(more or {})


def install_linear(
    folder: Path,
    version: int,
    margin: float,
    words: Mapping[str, float] | None = None,
    classes: Classes = BINARY,
) -> CachedModel:
    """Put a linear model into the cache in `folder`; nothing else gives a text its `margin`.

    Parameters
    ----------
    folder : Path
        The cache.
    version : int
        Of the model called "reviews".
    margin : float
        Bias of the model.
    words : mapping, optional
        Weights of single words; of more than two classes, for the class whose number ends the word.
    classes : Classes
    """
    from pipelines.inference.linear_scorer import TABLE_FILE, LinearScorer, TableInfo
    from pipelines.text.vectorizer import HashedNgramVectorizer

    info = TableInfo(ngram_max=1, bits=BITS, terms="count", bias=margin, slope=1.0, offset=0.0)
    if classes != BINARY:
        biases = () if classes.two else (margin,) * len(classes.names)
        info = msgspec.structs.replace(info, classes=classes, biases=biases)
    weights = np.zeros(info.shape, dtype=np.float32)
    vectorizer = HashedNgramVectorizer(ngram_max=1, bits=BITS)
    for word, weight in (words or {}).items():
        column = () if classes.two else (int(word.strip(ascii_letters)),)
        weights[(*vectorizer.fit([word]).transform([word]).indices, *column)] = weight

    def download(model: Path) -> None:
        (model / "MLmodel").write_text("flavors: {}\n")
        write_manifest(model)

    registered = RegisteredVersion(
        name="reviews", version=version, created=datetime(2026, 5, 4, tzinfo=UTC), source="test"
    )
    scorer = LinearScorer(info, weights)
    return ModelCache(folder).install(
        registered, download, lambda entry: scorer.save(entry / TABLE_FILE)
    )


def _wait(process: subprocess.Popen[str], log: Path) -> str:
    """The address that the service prints, once it answers there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if found := re.search(r"OpinionLens is at (\S+)", log.read_text()):
            try:
                httpx.get(f"{found[1]}/health", timeout=PATIENCE).raise_for_status()
            except httpx.TransportError:
                continue
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"olens serve does not answer:\n{log.read_text()}")

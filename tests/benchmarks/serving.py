"""The service over HTTP: against its own echo route, and against FastAPI over scikit-learn.

All on one worker. The contestants take turns, each in a process of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import httpx
import joblib
import msgspec

from pipelines.cache.model_cache import ModelCache
from pipelines.inference.linear_scorer import TABLE_FILE, LinearScorer
from pipelines.registry.manifest import write_manifest
from pipelines.registry.versions import RegisteredVersion
from tests.benchmarks.contest import Contest, Texts
from tests.benchmarks.http_load import Load, Measured
from tests.benchmarks.results import Result
from tests.benchmarks.serving_apps import ECHO, PIPELINE_FILE

PREDICT: Final = "/api/v1/inference/predict"
BATCH: Final = "/api/v1/inference/batch_predict"
CONNECTIONS: Final = (1, 16, 64)
SECONDS: Final = 6.0
"""Of each load in each round. The connections of a load are made one a turn, so the last ones wait,
and wrk counts a wait as all requests that it kept from being sent: a short load shows little
else."""
START_TIMEOUT: Final = 120.0

SHORT: Final = 100
LONG: Final = 1_300
"""Characters of a tweet and of a review."""

ECHO_SHARE: Final = 0.75
P99_RATIO: Final = 2.0
FASTAPI_RATIO: Final = 8.0
BATCH_SHARE: Final = 0.5
BATCH_RATIO: Final = 3.0
P99_BESIDE_BATCHES: Final = 0.050


def serving(contest: Contest) -> list[Result]:
    """Rates and latencies of single texts and batches over HTTP."""
    with tempfile.TemporaryDirectory(prefix="olens-serving-") as temporary:
        folder = Path(temporary)
        scorer = contest.trained.ours
        _install(folder, scorer)
        contest.say("training scikit-learn's TF-IDF and LogisticRegression")
        joblib.dump(_fit_rival(contest.train), folder / PIPELINE_FILE)
        with _served("ours", folder) as ours, _served("fastapi", folder) as fastapi:
            results: list[Result] = []
            for name, text in _texts(contest.test).items():
                for connections in CONNECTIONS:
                    contest.say(f"{name} over {connections} connections")
                    results += _singles(contest, ours, fastapi, name, text, connections)
            contest.say("batches of 100 reviews")
            results += _batches(contest, ours, fastapi, scorer)
            contest.say("single texts while batches of 1,000 long reviews run")
            results.append(_beside_batches(contest, ours))
    return results


def _texts(test: Texts) -> dict[str, str]:
    """The beginnings of real reviews, of the lengths that are compared."""
    review = next(text for text in test.texts if len(text) >= LONG)
    return {f"{SHORT} characters": review[:SHORT], f"{LONG:,} characters": review[:LONG]}


def _singles(
    contest: Contest, ours: str, fastapi: str, name: str, text: str, connections: int
) -> list[Result]:
    body = msgspec.json.encode({"text": text})
    measured = _take_turns(
        {
            "predict": Load(ours, PREDICT, body, connections, SECONDS),
            "echo": Load(ours, ECHO, body, connections, SECONDS),
            "fastapi": Load(fastapi, "/predict", body, connections, SECONDS),
        },
        contest.repetitions,
    )
    predict, echo, rival = measured["predict"], measured["echo"], measured["fastapi"]
    what = f"predict, {name}, {connections} connection{'s' if connections > 1 else ''}"
    # The model's own time counts on a short text; on a review, there is more of it to do.
    short = len(text) <= SHORT
    share, slower = predict.rate / echo.rate, predict.p99 / echo.p99
    faster = predict.rate / rival.rate
    return [
        Result(
            what=what,
            unit="requests/s",
            ours=predict.rate,
            rival="own echo",
            theirs=echo.rate,
            ratio=share,
            target=f">= {ECHO_SHARE:.0%} of echo" if short else "",
            reached=share >= ECHO_SHARE if short else None,
        ),
        Result(
            what=f"{what}: p99",
            unit="ms",
            ours=1e3 * predict.p99,
            rival="own echo",
            theirs=1e3 * echo.p99,
            target=f"< {P99_RATIO:.0f} x echo" if short else "",
            reached=slower < P99_RATIO if short else None,
        ),
        Result(
            what=what,
            unit="requests/s",
            ours=predict.rate,
            rival="FastAPI",
            theirs=rival.rate,
            ratio=faster,
            target=f">= {FASTAPI_RATIO:.0f} x",
            reached=faster >= FASTAPI_RATIO,
            note=f"p99 {1e3 * predict.p99:.1f} ms against {1e3 * rival.p99:.1f} ms",
        ),
    ]


def _batches(contest: Contest, ours: str, fastapi: str, scorer: LinearScorer) -> list[Result]:
    texts = contest.test.texts[:100]
    body = msgspec.json.encode(texts)
    measured = _take_turns(
        {
            "ours": Load(ours, BATCH, body, 2, SECONDS),
            "fastapi": Load(fastapi, "/batch_predict", body, 2, SECONDS),
        },
        contest.repetitions,
    )
    rate, rival = (len(texts) * measured[name].rate for name in ("ours", "fastapi"))
    direct = _in_process(scorer, texts)
    return [
        Result(
            what="batch of 100 reviews over HTTP",
            unit="reviews/s",
            ours=rate,
            rival="own scorer",
            theirs=direct,
            ratio=rate / direct,
            target=f">= {BATCH_SHARE:.0%}",
            reached=rate >= BATCH_SHARE * direct,
            note="in process, the same batches and threads",
        ),
        Result(
            what="batch of 100 reviews over HTTP",
            unit="reviews/s",
            ours=rate,
            rival="FastAPI",
            theirs=rival,
            ratio=rate / rival,
            target=f">= {BATCH_RATIO:.0f} x",
            reached=rate >= BATCH_RATIO * rival,
        ),
    ]


def _beside_batches(contest: Contest, ours: str) -> Result:
    """The p99 of single texts on the worker that is judging large batches."""
    reviews = [text for text in contest.test.texts if len(text) >= LONG][:1_000]
    batch = msgspec.json.encode(reviews)
    single = msgspec.json.encode({"text": reviews[0][:SHORT]})
    stopped = threading.Event()
    answered: list[float] = []

    def send_batches() -> None:
        with httpx.Client(base_url=ours, timeout=60) as client:
            while not stopped.is_set():
                client.post(BATCH, content=batch).raise_for_status()
                answered.append(time.perf_counter())

    senders = [threading.Thread(target=send_batches) for _ in range(2)]
    for sender in senders:
        sender.start()
    try:
        measured = Load(ours, PREDICT, single, 4, 3 * SECONDS).run()
    finally:
        stopped.set()
        for sender in senders:
            sender.join()
    return Result(
        what="single texts beside batches of 1,000: p99",
        unit="ms",
        ours=1e3 * measured.p99,
        target=f"< {1e3 * P99_BESIDE_BATCHES:.0f} ms",
        reached=measured.p99 < P99_BESIDE_BATCHES,
        note=f"{measured.rate:,.0f} single texts/s, {len(answered)} batches meanwhile",
    )


def _take_turns(loads: dict[str, Load], rounds: int) -> dict[str, Measured]:
    """Medians over rounds in which each load has its turn."""
    for load in loads.values():
        load._replace(seconds=1.0).run()
    measured: dict[str, list[Measured]] = {name: [] for name in loads}
    for _ in range(rounds):
        for name, load in loads.items():
            measured[name].append(load.run())
    return {
        name: Measured(median(m.rate for m in found), median(m.p99 for m in found))
        for name, found in measured.items()
    }


def _in_process(scorer: LinearScorer, texts: list[str]) -> float:
    """Texts per second of the scorer alone."""
    scorer.predict(texts)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        scorer.predict(texts)
        done += len(texts)
    return done / (time.perf_counter() - started)


def _fit_rival(train: Texts) -> object:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1_000))
    return pipeline.fit(train.texts, train.labels)


def _install(root: Path, scorer: LinearScorer) -> None:
    """Let the project in `root` have our model as its active one."""

    def download(folder: Path) -> None:
        (folder / "MLmodel").write_text("flavors: {}\n")
        write_manifest(folder)

    version = RegisteredVersion(
        name="benchmark", version=1, created=datetime.now(UTC), source="memory"
    )
    cache = ModelCache(root / "models")
    model = cache.install(version, download, lambda entry: scorer.save(entry / TABLE_FILE))
    cache.activate(model.id)


@contextmanager
def _served(name: str, folder: Path) -> Iterator[str]:
    """One of the services in a process of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.serving_apps", name, str(port), str(folder)],
        # One client asks for all.
        env=os.environ | {"OLENS_ROOT": str(folder), "OLENS_SERVING__RATE_LIMIT": "0"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, lambda: process.poll() is None)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait(url: str, is_running: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and is_running():
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers at {url}")

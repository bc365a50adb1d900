"""`olens doctor`: what is installed, compiled, prepared and active."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import msgspec

from pipelines.errors import OpinionLensError
from pipelines.settings import Settings

TRAINING: Final = ("mlflow", "optuna", "dvc", "matplotlib", "pyarrow")

# Longer than any load of compiled code from disk, shorter than any compilation.
_COMPILATION: Final = 1.5


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "missing", "broken"]
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed but the cache of compiled code."""
    checks: list[Callable[[Settings], Finding]] = [
        _python,
        _training_stack,
        _compiled_code,
        _threads,
        _data,
        _tracking,
        _model,
    ]
    findings = []
    for check in checks:
        try:
            findings.append(check(settings))
        except OpinionLensError as error:
            findings.append(
                Finding(check.__name__.strip("_").replace("_", " "), "broken", str(error))
            )
    return findings


def _python(settings: Settings) -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}")


def _training_stack(settings: Settings) -> Finding:
    missing = [name for name in TRAINING if not _is_installed(name)]
    if missing:
        detail = f"without {', '.join(missing)}: pip install 'opinionlens[train]'"
        return Finding("training stack", "missing", detail)
    return Finding(
        "training stack", "ok", f"mlflow {version('mlflow')}, optuna {version('optuna')}"
    )


def _compiled_code(settings: Settings) -> Finding:
    """Run the kernels once; how long that takes tells whether they were cached."""
    started = time.perf_counter()
    warm_up()
    seconds = time.perf_counter() - started
    if seconds > _COMPILATION:
        return Finding("compiled code", "ok", f"compiled now in {seconds:.1f} s, cached for later")
    return Finding("compiled code", "ok", f"cached, loaded in {seconds:.2f} s")


def _threads(settings: Settings) -> Finding:
    return Finding("threads", "ok", f"{os.cpu_count()} for batches")


def _data(settings: Settings) -> Finding:
    from pipelines.datasets.sources import find_source
    from pipelines.params import load_params

    params = load_params(settings.root)
    present = [n for n in params.datasets if find_source(settings, params, n).path.is_file()]
    absent = [name for name in params.datasets if name not in present]
    if absent:
        return Finding("raw data", "missing", f"{', '.join(absent)}: see olens data list")
    return Finding("raw data", "ok", ", ".join(present))


def _tracking(settings: Settings) -> Finding:
    from pipelines.registry.tracking_store import TrackingStore

    uri = settings.mlflow.tracking_uri
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return Finding("tracking store", "missing", f"{uri}: the first run makes it")
    newest = TrackingStore(settings.mlflow).recent(1)
    detail = f"newest model {newest[0].id}" if newest else "no model logged yet"
    return Finding("tracking store", "ok", detail)


def _model(settings: Settings) -> Finding:
    from pipelines.inference.opening import open_model

    opened = open_model(settings)
    label = opened.scorer.predict(["A lovely, quiet film."])[0][0]
    return Finding("model", "ok", f"{opened.id} ({opened.scorer.kind}) answers {label}")


def warm_up() -> None:
    """Compile, or load from the cache, every kernel between a text and its verdict or reasons."""
    import numpy as np

    from pipelines.inference.linear import LinearScorer, TableInfo

    info = TableInfo(ngram_max=1, bits=10, terms="presence", bias=0.0, slope=1.0, offset=0.0)
    weights = np.zeros(1024, dtype=np.float32)
    weights.flags.writeable = False
    scorer = LinearScorer(info, weights)
    scorer.predict(["Warm up."])
    scorer.explain("Warm up.")


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True

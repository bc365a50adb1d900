"""`olens doctor`: what is installed, compiled, prepared and active."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from pipelines.config.settings import Settings, is_project
from pipelines.errors import ModelError, OpinionLensError

if TYPE_CHECKING:
    from pipelines.labels import Classes

TRAINING: Final = ("mlflow", "optuna", "dvc", "matplotlib", "pyarrow")

# Longer than any load of compiled code from disk, shorter than any compilation.
_COMPILATION: Final = 1.5


class Finding(msgspec.Struct, frozen=True):
    """One check."""

    subject: str
    state: Literal["ok", "missing", "broken"]
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed but the cache of compiled code."""
    checks: list[Callable[[Settings], Finding]] = [
        _python,
        _training_stack,
        _subjects,
        _compiled_code,
        _threads,
        _project,
        _data,
        _tracking,
        _cache,
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
    missing = [name for name in TRAINING if not is_installed(name)]
    if missing:
        detail = f"without {', '.join(missing)}: pip install 'opinionlens[train]'"
        return Finding("training stack", "missing", detail)
    return Finding(
        "training stack", "ok", f"mlflow {version('mlflow')}, optuna {version('optuna')}"
    )


def _subjects(settings: Settings) -> Finding:
    from pipelines.training.subjects import all_subjects, broken_subjects

    if broken := broken_subjects():
        return Finding("subjects", "broken", " ".join(broken.values()))
    return Finding("subjects", "ok", ", ".join(all_subjects()))


def _compiled_code(settings: Settings) -> Finding:
    """Run the kernels once; the time shows whether they were cached."""
    started = time.perf_counter()
    warm_up()
    seconds = time.perf_counter() - started
    if seconds > _COMPILATION:
        return Finding("compiled code", "ok", f"compiled now in {seconds:.1f} s, cached for later")
    return Finding("compiled code", "ok", f"cached, loaded in {seconds:.2f} s")


def _threads(settings: Settings) -> Finding:
    return Finding("threads", "ok", f"{os.cpu_count()} for batches")


def _project(settings: Settings) -> Finding:
    if is_project(settings.root):
        return Finding("project", "ok", f"{settings.root}, models in {settings.paths.models}")
    return Finding(
        "project",
        "missing",
        f"none here: olens init makes one. Models are in {settings.paths.models}",
    )


def _data(settings: Settings) -> Finding:
    from pipelines.config.params import load_params
    from pipelines.datasets.sources import find_source

    if not (settings.root / "conf" / "params.yaml").is_file():
        return Finding("raw data", "missing", "only a project has data sets")
    params = load_params(settings.root)
    present = [n for n in params.datasets if find_source(settings, params, n).path.is_file()]
    absent = [name for name in params.datasets if name not in present]
    if absent:
        return Finding("raw data", "missing", f"{', '.join(absent)}: see olens data list")
    return Finding("raw data", "ok", ", ".join(present))


def _tracking(settings: Settings) -> Finding:
    from pipelines.registry.logged_models import TrackingStore

    uri = settings.mlflow.tracking_uri
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return Finding("tracking store", "missing", f"{uri}: the first run makes it")
    newest = TrackingStore(settings.mlflow).recent(1)
    detail = f"newest model {newest[0].id}" if newest else "no model logged yet"
    return Finding("tracking store", "ok", detail)


def _cache(settings: Settings) -> Finding:
    """Compare the files of all models in the cache with their SHA-256; check the base models."""
    from pipelines.base_model.opening import FOLDERS, check_base
    from pipelines.cache.model_cache import ModelCache

    cache = ModelCache(settings.paths.models)
    damaged = cache.damaged()
    for name in FOLDERS:
        try:
            check_base(name)
        except ModelError as error:
            damaged[name] = str(error)
    for model in cache.list():
        try:
            cache.verify(model.id)
        except ModelError as error:
            damaged[model.id] = str(error)
    if damaged:
        return Finding("model cache", "broken", "; ".join(damaged.values()))
    return Finding("model cache", "ok", f"{len(cache.list())} models in {cache.folder}")


def _model(settings: Settings) -> Finding:
    from pipelines.workflows.open_model import open_model

    opened = open_model(settings)
    label = opened.scorer.predict(["A lovely, quiet film."])[0][0]
    return Finding("model", "ok", f"{opened.id} ({opened.scorer.kind}) answers {label}")


def warm_up(training: bool = False) -> None:
    """Compile, or load from the cache, every kernel between a text or file and its verdicts.

    With `training`, also those between labelled texts and a model by the default subject.
    """
    import numpy as np

    from pipelines.inference.linear_scorer import LinearScorer, TableInfo
    from pipelines.labels import BINARY, SENTIMENTS, Classes
    from pipelines.tables.reading import open_table
    from pipelines.text.text_lists import decode_texts

    for classes in (BINARY, Classes.declared(SENTIMENTS)):
        info = TableInfo(
            ngram_max=1,
            bits=10,
            terms="presence",
            bias=0.0,
            slope=1.0,
            offset=0.0,
            classes=classes,
            biases=(0.0,) * len(classes.names),
        )
        weights = np.zeros(info.shape, dtype=np.float32)
        weights.flags.writeable = False
        scorer = LinearScorer(info, weights)
        scorer.predict(["Warm up."])
        for texts in (["Warm up."], ["Warm", "up 7."]):
            scorer.judge(texts)
        scorer.explain("Warm up.")
        if training:
            _fit_some(classes)
    decode_texts(b'["Warm", "up."]', 2)
    for _ in open_table(b'id,text\n1,"Warm ""up"""\n', "warm.csv").batches(["text"]):
        pass


def _fit_some(classes: Classes) -> None:
    """Fit the default subject to a few texts."""
    import numpy as np
    import polars as pl

    from pipelines.config.params import Vectorizer
    from pipelines.text.normalise import normalise_column
    from pipelines.text.vectorizer import HashedNgramVectorizer
    from pipelines.training.features import Labelled
    from pipelines.training.fitting import fit_pipeline
    from pipelines.training.subjects import nbsvm

    words = ["bad", "so-so", "good"][: len(classes.names)]
    texts = pl.Series([f"A {word} text, number {number}" for number in range(20) for word in words])
    labels = np.arange(len(texts), dtype=np.int8) % len(words)
    subject = nbsvm().for_classes(len(words))
    vectorizer = Vectorizer(bits=10)
    counts = HashedNgramVectorizer(**msgspec.structs.asdict(vectorizer)).transform(
        normalise_column(texts)[0]
    )
    data = Labelled(counts, labels, classes)
    fit_pipeline(subject, subject.defaults, 0, vectorizer, data)


def is_installed(name: str) -> bool:
    """Whether there is a distribution of that name; `mlflow-skinny` is not `mlflow`."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
